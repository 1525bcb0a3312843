package pap

// noQuality takes quality-of-service out of what content allows.
func noQuality() map[string]func(*node) {
	return map[string]func(*node){"quality-of-service": nil}
}

func (r *reader) message(n *node) Message {
	switch n.name {
	case "push-message":
		return r.push(n)
	case "push-response":
		return r.pushResponse(n)
	case "cancel-message":
		m := &CancelMessage{PushID: r.required(n, "push-id")}
		m.Addresses, _ = r.content(n, noQuality())
		return m
	case "cancel-response":
		return r.cancelResponse(n)
	case "resultnotification-message":
		m := &ResultNotification{PushID: r.required(n, "push-id"), SenderAddress: n.attrs["sender-address"], SenderName: n.attrs["sender-name"],
			ReceivedTime: r.time(n, "received-time"), EventTime: r.time(n, "event-time"), State: r.state(n), Code: r.code(n), Description: n.attrs["desc"]}
		list, q := r.content(n, nil)
		m.Address, m.Quality = r.one(n, list), q
		return m
	case "resultnotification-response":
		m := &ResultNotificationResponse{PushID: r.required(n, "push-id"), Code: r.code(n), Description: n.attrs["desc"]}
		list, _ := r.content(n, noQuality())
		m.Address = r.one(n, list)
		return m
	case "statusquery-message":
		m := &StatusQuery{PushID: r.required(n, "push-id")}
		m.Addresses, _ = r.content(n, noQuality())
		return m
	case "statusquery-response":
		return r.statusResponse(n)
	case "ccq-message":
		m := &CapabilityQuery{QueryID: n.attrs["query-id"], AppID: n.attrs["app-id"]}
		list, _ := r.content(n, noQuality())
		m.Address = r.one(n, list)
		return m
	case "ccq-response":
		m := &CapabilityResponse{QueryID: n.attrs["query-id"], Code: r.code(n), Description: n.attrs["desc"]}
		list, _ := r.content(n, noQuality())
		m.Address = r.one(n, list)
		return m
	case "badmessage-response":
		r.each(n, nil)
		return &BadMessage{Code: r.code(n), Description: n.attrs["desc"], Fragment: n.attrs["bad-message-fragment"]}
	}
	r.fail(&Error{Code: BadRequest, Text: "pap holds an element that PAP does not have there", Fragment: fragment(n.name)})
	return nil
}

func (r *reader) push(n *node) *PushMessage {
	m := &PushMessage{PushID: r.required(n, "push-id"), DeliverBefore: r.time(n, "deliver-before-timestamp"), DeliverAfter: r.time(n, "deliver-after-timestamp"),
		SourceReference: n.attrs["source-reference"], ProgressNotes: r.flag(n, "progress-notes-requested"), NotifyTo: n.attrs["ppg-notify-requested-to"],
		ReplaceID: n.attrs["replace-push-id"], ReplaceMethod: r.word(n, "replace-method", "", "all", "pending-only")}
	m.Addresses, m.Quality = r.content(n, nil)
	if len(m.Addresses) == 0 {
		r.fail(bad("push-message has no address"))
	}
	return m
}

func (r *reader) pushResponse(n *node) *PushResponse {
	m := &PushResponse{PushID: r.required(n, "push-id"), SenderAddress: n.attrs["sender-address"], SenderName: n.attrs["sender-name"], ReplyTime: r.time(n, "reply-time")}
	results := 0
	r.each(n, map[string]func(*node){
		"progress-note": func(c *node) {
			r.each(c, nil)
			m.Notes = append(m.Notes, ProgressNote{Stage: r.required(c, "stage"), Note: c.attrs["note"], Time: r.time(c, "time")})
		},
		"response-result": func(c *node) {
			r.each(c, nil)
			results++
			m.Code, m.Description = r.code(c), c.attrs["desc"]
		},
	})
	if results != 1 {
		r.fail(bad("push-response has %d response-result, not one", results))
	}
	return m
}

func (r *reader) cancelResponse(n *node) *CancelResponse {
	m := &CancelResponse{PushID: r.required(n, "push-id")}
	r.each(n, map[string]func(*node){"cancel-result": func(c *node) {
		res := CancelResult{Code: r.code(c), Description: c.attrs["desc"]}
		res.Addresses, _ = r.content(c, noQuality())
		m.Results = append(m.Results, res)
	}})
	if len(m.Results) == 0 {
		r.fail(bad("cancel-response has no cancel-result"))
	}
	return m
}

func (r *reader) statusResponse(n *node) *StatusQueryResponse {
	m := &StatusQueryResponse{PushID: r.required(n, "push-id")}
	r.each(n, map[string]func(*node){"statusquery-result": func(c *node) {
		res := StatusResult{EventTime: r.time(c, "event-time"), State: r.state(c), Code: r.code(c), Description: c.attrs["desc"]}
		res.Addresses, res.Quality = r.content(c, nil)
		m.Results = append(m.Results, res)
	}})
	if len(m.Results) == 0 {
		r.fail(bad("statusquery-response has no statusquery-result"))
	}
	return m
}
