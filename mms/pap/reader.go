package pap

import (
	"strconv"
	"strings"
	"time"
)

// reader makes messages of nodes; the first fault stays.
type reader struct{ err *Error }

func (r *reader) fail(e *Error) {
	if r.err == nil {
		r.err = e
	}
}

func (r *reader) required(n *node, name string) string {
	v := n.attrs[name]
	if strings.TrimSpace(v) == "" {
		r.fail(bad("%s has no %s", n.name, name))
	}
	return v
}

func (r *reader) time(n *node, name string) time.Time {
	v := n.attrs[name]
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(timeForm, v)
	if err != nil || t.Year() < 1970 {
		r.fail(&Error{Code: BadRequest, Text: name + " is not a time such as 2026-11-24T15:00:00Z", Fragment: fragment(v)})
	}
	return t
}

func (r *reader) code(n *node) Code {
	v := r.required(n, "code")
	c, err := strconv.Atoi(v)
	if err != nil || c < 1000 || c > 5999 {
		r.fail(&Error{Code: BadRequest, Text: "code is not a number of 1000 to 5999", Fragment: fragment(v)})
	}
	return Code(c)
}

func (r *reader) flag(n *node, name string) bool {
	return r.word(n, name, "false", "true", "false") == "true"
}

// word reads an attribute that is one of a list; def if it is absent.
func (r *reader) word(n *node, name, def string, allowed ...string) string {
	v, ok := n.attrs[name]
	if !ok || v == "" {
		return def
	}
	for _, a := range allowed {
		if v == a {
			return v
		}
	}
	r.fail(&Error{Code: BadRequest, Text: name + " is none of " + strings.Join(allowed, ", "), Fragment: fragment(v)})
	return def
}

func (r *reader) state(n *node) State {
	s := State(r.required(n, "message-state"))
	if !s.Known() {
		r.fail(&Error{Code: BadRequest, Text: "message-state is none of PAP's", Fragment: fragment(string(s))})
	}
	return s
}

// each walks children of the names allowed.
func (r *reader) each(n *node, take map[string]func(*node)) {
	for _, c := range n.children {
		f, ok := take[c.name]
		if !ok {
			r.fail(&Error{Code: BadRequest, Text: n.name + " holds an element that PAP does not have there", Fragment: fragment(c.name)})
			return
		}
		f(c)
	}
}

func (r *reader) address(n *node) Address {
	r.each(n, nil)
	return Address{Value: r.required(n, "address-value")}
}

// content reads addresses and a quality of service.
func (r *reader) content(n *node, also map[string]func(*node)) (list []Address, q *QualityOfService) {
	take := map[string]func(*node){
		"address": func(c *node) { list = append(list, r.address(c)) },
		"quality-of-service": func(c *node) {
			if q != nil {
				r.fail(bad("%s has two quality-of-service", n.name))
			}
			q = r.quality(c)
		},
	}
	for name, f := range also {
		if f == nil {
			delete(take, name)
			continue
		}
		take[name] = f
	}
	r.each(n, take)
	return list, q
}

func (r *reader) quality(n *node) *QualityOfService {
	r.each(n, nil)
	return &QualityOfService{
		Priority:       r.word(n, "priority", "", "high", "medium", "low"),
		DeliveryMethod: r.word(n, "delivery-method", "", "confirmed", "preferconfirmed", "unconfirmed", "notspecified"),
		Network:        n.attrs["network"], NetworkRequired: r.flag(n, "network-required"),
		Bearer: n.attrs["bearer"], BearerRequired: r.flag(n, "bearer-required"),
	}
}

// one takes the single address that some messages have.
func (r *reader) one(n *node, list []Address) Address {
	if len(list) != 1 {
		r.fail(bad("%s has %d addresses, not one", n.name, len(list)))
		return Address{}
	}
	return list[0]
}
