package admin_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/mmsrouter/mmsrouter/admin"
)

func TestNoEmbeddedMMSC(t *testing.T) {
	c := client(t, start(t, nil), "")
	tests := []struct {
		name string
		ask  func() error
	}{
		{"list", func() error {
			_, err := c.Messages(t.Context(), admin.MessageFilter{Number: "+46701740606"})
			return err
		}},
		{"show", func() error { _, err := c.Message(t.Context(), "m@example.net"); return err }},
		{"requeue", func() error { _, err := c.RequeueMessage(t.Context(), "m@example.net"); return err }},
		{"cancel", func() error { _, err := c.CancelMessage(t.Context(), "m@example.net"); return err }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var no *admin.Refusal
			if err := tc.ask(); !errors.As(err, &no) || no.Status != http.StatusNotImplemented || no.Text != "this router runs no embedded MMSC (mmsc.enabled)" {
				t.Errorf("%v", err)
			}
		})
	}
}
