// Package takeover moves a dead router's service addresses to a living one. WAP gateways keep an address for days
// whatever DNS says, so the address itself must move; that is VRRP's job (RFC 9568), and keepalived does it. This
// package writes keepalived's configuration for one router from ours, with a check script that asks our readiness (a
// frozen or broken router gives its addresses up, not only a dead machine) and a notify script that tells the
// router who holds what.
//
// It owns these files' text, and in Holders what is known of the addresses. It never touches an address itself. Promises
// on failure: if the check can't reach the router for its short time, the addresses go to a router that is ready; if no
// router is ready they stay where they belong, since an answer of some kind is better than none. A notify that finds
// nobody costs nothing.
package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Site is what the files of one router need beyond the common Config.
type Site struct {
	Node  string // this router's name
	Admin string // URL of its admin API, such as http://127.0.0.1:8090
	Token string // of that API; empty: none
	Data  string // node.data, absolute: there the router says that it would rather others had the addresses
}

// File is one file to write. Only the token's is readable by nobody but the scripts' user.
type File struct {
	Path string
	Mode os.FileMode
	Text string
	User string // owner; "": root
}

// The files' names in Config.Dir; keepalived reads Conf, which its own configuration includes or is.
const (
	ConfName   = "keepalived.conf"
	CheckName  = "check"
	NotifyName = "notify"
	TokenName  = "token"
)

// Files gives the files for one router.
func Files(c Config, s Site) ([]File, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	me := -1
	for i, r := range c.Routers {
		if r.Name == s.Node {
			me = i
		}
	}
	u, err := url.Parse(s.Admin)
	switch {
	case !c.Enabled():
		return nil, errors.New("takeover.routers: there are none")
	case me < 0:
		return nil, fmt.Errorf("takeover.routers: this router, %q, is not among them", s.Node)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(s.Admin, "'\"\\ \n$`"):
		return nil, fmt.Errorf("admin address %q: want a URL such as http://127.0.0.1:8090", s.Admin)
	case !filepath.IsAbs(s.Data) || strings.ContainsAny(s.Data, "\"'\\ \t\n$`{}#!"):
		return nil, fmt.Errorf("node.data: %q: want an absolute path without blanks and quotes, for keepalived reads a file in it", s.Data)
	case strings.ContainsAny(s.Token, "\r\n"):
		return nil, errors.New("admin.token: want one line")
	}
	at := func(name string) string { return filepath.Join(c.Dir, name) }
	admin := strings.TrimRight(s.Admin, "/")
	files := []File{
		{Path: at(ConfName), Mode: 0o644, Text: c.keepalived(me, YieldFile(s.Data))},
		{Path: at(CheckName), Mode: 0o755, Text: c.check(admin)},
		{Path: at(NotifyName), Mode: 0o755, Text: c.notify(admin, s.Token != "")},
	}
	if s.Token != "" {
		files = append(files, File{Path: at(TokenName), Mode: 0o400, User: c.User, Text: "Authorization: Bearer " + s.Token + "\n"})
	}
	return files, nil
}

// seconds writes a duration as keepalived reads it.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// keepalived writes the configuration of the router with that index.
func (c *Config) keepalived(me int, yield string) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("# Written by mmsrouter for the router %s. Changes belong into mmsrouter's configuration, section takeover.", c.Routers[me].Name)
	p("global_defs {")
	p("    router_id %s", c.Routers[me].Name)
	p("    vrrp_version 3")
	p("    vrrp_check_unicast_src")
	p("    vrrp_garp_master_refresh 5")
	p("    enable_script_security")
	p("    script_user %s", c.User)
	p("}")
	p("")
	p("# Not ready: below all routers that are, so that they take over. If no router is ready the order stays.")
	p("vrrp_script mmsrouter_ready {")
	p("    script \"%s\"", filepath.Join(c.Dir, CheckName))
	p("    interval %s", seconds(c.Check.Interval))
	p("    timeout %s", seconds((c.Check.Timeout + 2*time.Second).Truncate(time.Second)))
	p("    fall %d", c.Check.Fall)
	p("    rise %d", c.Check.Rise)
	p("    weight -%d", notReady)
	p("    init_fail")
	p("}")
	p("")
	p("# The router writes 1 here while it would rather others had the addresses: when it drains, and until what is under way at a")
	p("# stand-in has ended after its return.")
	p("track_file mmsrouter_yields {")
	p("    file \"%s\"", yield)
	p("    weight -%d", yields)
	p("}")
	for i := range c.Routers {
		c.instance(p, me, i)
	}
	return b.String()
}

// instance writes one router's addresses.
func (c *Config) instance(p func(string, ...any), me, owner int) {
	r := &c.Routers[owner]
	priority := ownerPriority
	if d := (me - owner + len(c.Routers)) % len(c.Routers); d > 0 {
		priority = firstPriority - (d-1)*max(1, (firstPriority-lastPriority)/max(1, len(c.Routers)-2))
	}
	p("")
	p("# The service addresses of %s.", r.Name)
	p("vrrp_instance %s {", r.Name)
	p("    state BACKUP")
	p("    interface %s", c.Interface)
	p("    virtual_router_id %d", c.VRID+owner)
	p("    priority %d", priority)
	p("    advert_int %s", seconds(c.Advert))
	p("    unicast_src_ip %s", c.Routers[me].Peer)
	if len(c.Routers) > 1 {
		p("    unicast_peer {")
		for i := range c.Routers {
			if i != me {
				p("        %s", c.Routers[i].Peer)
			}
		}
		p("    }")
	}
	// The addresses of the peers' family are announced, those of the other one go with them.
	peer, err := netip.ParseAddr(r.Peer)
	v4 := err == nil && peer.Is4() // Validate has looked at it
	var same, other []netip.Prefix
	for _, a := range r.prefixes() {
		if a.Addr().Is4() == v4 {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	list := func(block string, all []netip.Prefix) {
		if len(all) == 0 {
			return
		}
		p("    %s {", block)
		for _, a := range all {
			p("        %s", a)
		}
		p("    }")
	}
	list("virtual_ipaddress", same)
	list("virtual_ipaddress_excluded", other)
	p("    track_script {")
	p("        mmsrouter_ready")
	p("    }")
	p("    track_file {")
	p("        mmsrouter_yields")
	p("    }")
	p("    notify \"%s\"", filepath.Join(c.Dir, NotifyName))
	p("}")
}

// check writes the script that asks for readiness. Its time-out is hard: a router that accepts and never answers is as
// dead as one that does not run.
func (c *Config) check(admin string) string {
	return fmt.Sprintf(`#!/bin/sh
# Written by mmsrouter: is this router ready? keepalived gives its addresses up while it is not.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec timeout -s KILL %s curl -fsS --noproxy '*' --max-time %s -o /dev/null '%s/readyz?addresses'
`, seconds(c.Check.Timeout+500*time.Millisecond), seconds(c.Check.Timeout), admin)
}

// notify writes the script that keepalived calls with INSTANCE, name, state and priority.
func (c *Config) notify(admin string, token bool) string {
	header := ""
	if token {
		header = fmt.Sprintf(" -H @%s", filepath.Join(c.Dir, TokenName))
	}
	return fmt.Sprintf(`#!/bin/sh
# Written by mmsrouter: tells the router who holds which addresses. Called as: notify INSTANCE name state priority
PATH=/usr/sbin:/usr/bin:/sbin:/bin
case "$2$3$4" in
*[!A-Za-z0-9._-]*) exit 2 ;;
esac
timeout -s KILL 3 curl -fsS --noproxy '*' --max-time 2 -o /dev/null -H 'Content-Type: application/json'%s \
    --data "{\"instance\":\"$2\",\"state\":\"$3\",\"priority\":\"$4\"}" '%s/api/v1/takeover'
exit 0 # a router that is not there needs not be told
`, header, admin)
}

// Missing names the programs that the scripts need and this machine has not.
func Missing(look func(file string) (string, error)) []string {
	var all []string
	for _, name := range []string{"curl", "timeout", "keepalived"} {
		if _, err := look(name); err != nil {
			all = append(all, name)
		}
	}
	return all
}

// Write puts the files in place, each at once. The folder is made if it is not there; files that belong to a user are
// given to it, which takes root.
func Write(files []File) error {
	for _, f := range files {
		dir := filepath.Dir(f.Path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		if err := write(dir, f); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return nil
}

func write(dir string, f File) (err error) {
	tmp, err := os.CreateTemp(dir, ".new-*") // readable by its owner alone until it is right
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the error to tell is the other one
		}
	}()
	_, err = tmp.WriteString(f.Text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if f.User != "" && os.Geteuid() == 0 {
		if err := give(tmp.Name(), f.User); err != nil {
			return err
		}
	}
	if err := os.Chmod(tmp.Name(), f.Mode); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.Path)
}

func give(path, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, -1)
}
