package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A push proxy gateway tells the outcome of a push at the MM1 door, and the embedded MMSC answers it in PAP.
func TestPushResultsAtTheDoor(t *testing.T) {
	a := start(t, "mmsc: {enabled: true}\n")
	url := "http://" + a.Listening()["mm1.listen"][0] + "/pap/results"
	const told = `<?xml version="1.0"?><!DOCTYPE pap PUBLIC "-//WAPFORUM//DTD PAP 2.0//EN" "http://www.wapforum.org/DTD/pap_2.0.dtd">
<pap><resultnotification-message push-id="x@mms.example.net" message-state="delivered" code="1000"><address address-value="WAPPUSH=+46701740606/TYPE=PLMN@ppg.example.net"/></resultnotification-message></pap>`
	r, err := http.Post(url, "application/xml", strings.NewReader(told))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusAccepted || !strings.Contains(string(body), "<resultnotification-response") || !strings.Contains(string(body), `push-id="x@mms.example.net"`) {
		t.Fatalf("HTTP %d, %s, %v", r.StatusCode, body, err)
	}
}
