package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/router"
)

// maxLocation bounds a location, in octets; those of real servers stay under 100, since they travel in an SMS.
const maxLocation = 2048

// operator is an Operator made ready.
type operator struct {
	Operator
	hosts  map[host]bool
	client *outgoing.Client
	guard  *outgoing.Guard
}

// compileRules makes what check needs.
func compileRules(o *Operator) (*operator, error) {
	r := &operator{Operator: *o, hosts: map[host]bool{}}
	for _, text := range o.Hosts {
		h, err := parseHost(text)
		if err != nil {
			return nil, err
		}
		r.hosts[h] = true
	}
	return r, nil
}

// location is a URL that may be asked for.
type location struct {
	url      string // as it is asked for, and the key of what is stored
	host     string // for logs
	operator *operator
}

// errNotListed says that a URL leads to no listed operator.
var errNotListed = errors.New("no listed operator's server")

// check says whether a URL is the operator's: scheme, host, port, path. Its address is checked when it is dialled. With
// onlyPaths the beginnings in `paths` count too.
func (o *operator) check(raw string, onlyPaths bool) (*location, error) {
	u, err := parseLocation(raw)
	if err != nil {
		return nil, err
	}
	h := host{name: plainHost(u.Hostname())}
	if p := u.Port(); p != "" {
		h.port, _ = strconv.Atoi(p) // digits only, url.Parse has seen to it; one that overflows is in no list
	}
	if h.port == map[string]int{"http": 80, "https": 443}[u.Scheme] {
		h.port = 0
	}
	if !o.hosts[h] {
		explicit := host{name: h.name, port: map[string]int{"http": 80, "https": 443}[u.Scheme]}
		if h.port != 0 || !o.hosts[explicit] {
			return nil, errNotListed
		}
	}
	if o.Secure && u.Scheme != "https" {
		return nil, errors.New("the operator is to be asked by https alone")
	}
	if onlyPaths && len(o.Paths) > 0 && !begins(u.EscapedPath(), o.Paths) {
		return nil, errors.New("the path is none of the operator's paths")
	}
	u.Host = h.name
	if strings.Contains(h.name, ":") {
		u.Host = "[" + h.name + "]"
	}
	if h.port != 0 {
		u.Host = net.JoinHostPort(h.name, strconv.Itoa(h.port))
	}
	return &location{url: u.String(), host: h.name, operator: o}, nil
}

// parseLocation takes an http or https URL that means the same to everybody.
func parseLocation(raw string) (*url.URL, error) {
	if len(raw) > maxLocation {
		return nil, fmt.Errorf("longer than %d octets", maxLocation)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7F || r == '\\' }) {
		return nil, errors.New("not a URL of printable ASCII")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL") // the error repeats all of it
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("neither http nor https")
	case u.Opaque != "" || u.Hostname() == "" || strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("no host")
	case u.User != nil:
		return nil, errors.New("a user name or password in it")
	case strings.Contains(raw, "#"):
		return nil, errors.New("a fragment in it")
	}
	for _, segment := range strings.Split(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, errors.New("a path that goes up")
		}
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

func begins(path string, list []string) bool {
	for _, p := range list {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// settings is a Config made ready.
type settings struct {
	Config
	operators []*operator
}

// compile makes clients; close frees them.
func compile(c Config, resolver outgoing.Resolver) (*settings, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	s := &settings{Config: c}
	for i := range c.Operators {
		o, err := compileRules(&c.Operators[i])
		if err != nil {
			return nil, fmt.Errorf("peers.operators[%d].hosts: %w", i, err)
		}
		secrets, err := o.tls()
		if err != nil {
			return nil, fmt.Errorf("peers.operators[%d].%w", i, err)
		}
		g := outgoing.DefaultConfig()
		for _, n := range o.Networks {
			g.Allow = append(g.Allow, n.String())
		}
		g.Redirects, g.Timeout, g.Connect = 0, c.Timeout, min(c.Timeout, g.Connect)
		g.MaxBody, g.Connections = max(c.MaxMessage, router.Size(maxAnswer)), c.InFlight
		if o.guard, err = outgoing.New(outgoing.Options{Config: g, Resolver: within{resolver, o.Networks}}); err != nil {
			return nil, fmt.Errorf("peers.operators[%d]: %w", i, err)
		}
		o.client = o.guard.Client(outgoing.ClientOptions{TLS: secrets})
		s.operators = append(s.operators, o)
	}
	return s, nil
}

func (s *settings) close() {
	for _, o := range s.operators {
		o.guard.Close()
	}
}

// maxAnswer bounds what a peer may say to an indication.
const maxAnswer = 64 << 10

// find gives the operator whose location a URL is. errNotListed: nobody's.
func (s *settings) find(raw string) (*location, error) {
	if u, err := parseLocation(raw); err != nil {
		return nil, err
	} else if u.Path == s.Path {
		return nil, errors.New("a relay behind a relay")
	}
	for _, o := range s.operators {
		at, err := o.check(raw, true)
		if !errors.Is(err, errNotListed) {
			return at, err
		}
	}
	return nil, errNotListed
}

// from gives the operator whose networks hold an address; nil: none.
func (s *settings) from(a netip.Addr) *operator {
	for _, o := range s.operators {
		if contains(o.Networks, a) {
			return o
		}
	}
	return nil
}

// errOutside says that a host of an operator has no address in its networks.
var errOutside = errors.New("none of its addresses lies in the operator's networks")

// within resolves to the addresses of an operator's networks alone. What it gives is what is dialled.
type within struct {
	outgoing.Resolver
	networks []netip.Prefix
}

// LookupNetIP implements outgoing.Resolver.
func (w within) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	all, err := w.Resolver.LookupNetIP(ctx, network, name)
	if err != nil {
		return nil, err
	}
	var ours []netip.Addr
	for _, a := range all {
		if contains(w.networks, a) {
			ours = append(ours, a)
		}
	}
	if len(ours) == 0 {
		return nil, errOutside
	}
	return ours, nil
}
