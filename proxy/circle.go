package proxy

import (
	"bytes"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// mostProxies is how many proxies a request may have come through. A WAP gateway, a load balancer and a router are three; a circle of
// routers, each of which takes another for an MMSC, would go on until the head is too long, with a place taken at every turn.
const mostProxies = 16

// circles says that a request has come through more proxies than any path has (RFC 9110 section 7.6.3: Via serves to avoid loops).
func circles(fields []wire.Field) bool {
	n := 0
	for i := range fields {
		if f := &fields[i]; wire.EqualFold(f.Name, "Via") {
			n += 1 + bytes.Count(f.Value, []byte{','})
		}
	}
	return n > mostProxies
}
