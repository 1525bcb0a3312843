package healthcheck

import (
	"context"
	"crypto/tls"
)

// tcpProber finds an MMSC up that takes a connection and, behind https, completes the handshake: without
// one each message would fail there.
type tcpProber struct{ *door }

func (p tcpProber) probe(ctx context.Context) Result {
	conn, err := p.dial(ctx, "tcp", p.addr)
	if err != nil {
		return down("%v", err)
	}
	defer conn.Close() // nothing was written that could be lost
	if p.tls == nil {
		return Result{Up: true, Why: "takes connections"}
	}
	if err := tls.Client(conn, p.tls).HandshakeContext(ctx); err != nil {
		return down("TLS with %s: %v", p.addr, err)
	}
	return Result{Up: true, Why: "takes TLS connections"}
}
