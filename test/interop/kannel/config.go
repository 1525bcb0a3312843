package kannel

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Options of Start.
type Options struct {
	Dir      string            // for configuration and logs
	Address  string            // loopback address for WDP (FreeAddress)
	Map      map[string]string // URL prefixes that wapbox rewrites, where it can't resolve them
	Push     *Push             // nil: no push proxy gateway
	LogLevel int               // Kannel's, 0 (all) to 4 (what ends it); 0 stands for 1
}

// Push makes the gateway a push proxy gateway too: PAP in, SMPP out.
type Push struct {
	SMSC           string // host:port, bound to as transceiver
	User, Password string // of the one push initiator
}

// setup is what one run of Kannel needs: `bearerbox file`, then `wapbox file`.
type setup struct {
	file   string
	status string // URL of bearerbox's status page
	pap    string // URL for push initiators, if there are any
}

const adminPassword = "lab"

// write writes the configuration of one run, with TCP ports that are free now.
func write(o Options) (*setup, error) {
	if o.LogLevel == 0 {
		o.LogLevel = 1
	}
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	admin, box := ports[0], ports[1]
	text := configuration(o, admin, box, ports[3])
	s := &setup{
		file:   filepath.Join(o.Dir, "kannel.conf"),
		status: fmt.Sprintf("http://127.0.0.1:%d/status.txt?password=%s", admin, adminPassword),
	}
	if o.Push != nil {
		part, err := o.Push.configuration(ports[2], ports[4])
		if err != nil {
			return nil, err
		}
		text += part
		s.pap = fmt.Sprintf("http://127.0.0.1:%d/wappush", ports[2])
	}
	return s, os.WriteFile(s.file, []byte(text), 0o600)
}

func configuration(o Options, admin, box, smsbox int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written for one run.
group = core
admin-port = %d
admin-interface = 127.0.0.1
admin-password = %s
wapbox-port = %d
box-allow-ip = "127.0.0.1"
box-deny-ip = "*.*.*.*"
wdp-interface-name = "%s"
log-file = "%s"
log-level = %d
`, admin, adminPassword, box, o.Address, filepath.Join(o.Dir, "bearerbox.log"), o.LogLevel)
	if o.Push != nil {
		fmt.Fprintf(&b, "smsbox-port = %d\n", smsbox)
	}
	fmt.Fprintf(&b, `
group = wapbox
bearerbox-host = 127.0.0.1
timer-freq = 1
log-file = "%s"
log-level = %d
syslog-level = none
`, filepath.Join(o.Dir, "wapbox.log"), o.LogLevel)
	i := 0
	for from, to := range o.Map {
		i++
		fmt.Fprintf(&b, "\ngroup = wap-url-map\nname = map%d\nurl = \"%s*\"\nmap-url = \"%s*\"\n", i, from, to)
	}
	return b.String()
}

// configuration is the groups that make a push proxy gateway, and the one SMSC behind it.
func (p *Push) configuration(ppg, sendsms int) (string, error) {
	host, port, err := net.SplitHostPort(p.SMSC)
	if err != nil {
		return "", fmt.Errorf("the SMSC's address: %w", err)
	}
	return fmt.Sprintf(`
group = smsc
smsc = smpp
smsc-id = lab
host = %s
port = %s
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = WAP
enquire-link-interval = 10
reconnect-delay = 1
source-addr-ton = 1
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1

group = ppg
ppg-port = %d
ppg-url = /wappush
trusted-pi = false
service-name = ppg
global-sender = 7777

group = wap-push-user
wap-push-user = lab
ppg-username = %s
ppg-password = %s
allow-ip = 127.0.0.1

# bearerbox refuses smsbox-port without these; the smsbox itself does not run
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %d
sendsms-interface = 127.0.0.1
global-sender = 7777

group = sendsms-user
username = lab
password = lab
`, host, port, ppg, p.User, p.Password, sendsms), nil
}

// freePorts finds TCP ports that are free now: Kannel can't be given a listener.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // held until all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// FreeAddress finds a loopback address on which wapbox's fixed ports are free. Each user has a net of its
// own, 127.0.block.0/24, so that tests of several packages at a time do not take the same.
func FreeAddress(block byte) (string, error) {
	for last := 2; last < 250; last++ {
		ip := net.IPv4(127, 0, block, byte(last))
		if free(ip, PortConnectionless) && free(ip, PortSession) {
			return ip.String(), nil
		}
	}
	return "", fmt.Errorf("no address in 127.0.%d.0/24 has ports %d and %d free", block, PortConnectionless, PortSession)
}

func free(ip net.IP, port int) bool {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: port})
	if err != nil {
		return false
	}
	c.Close()
	return true
}
