//go:build linux

package kannel_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
	"golang.org/x/sys/unix"
)

// insideEnv says that this process is the one inside the namespaces.
const insideEnv = "MMSROUTER_KANNEL_INSIDE"

// TestTheGatewayResolves is the whole way: wapbox asks the system's resolver for the MMS domain, which asks
// the router; it gets the router's own address and posts there, on port 80. Since the resolver and both
// ports belong to the machine, it all happens in namespaces of its own.
func TestTheGatewayResolves(t *testing.T) {
	if _, _, err := kannel.Programs(); err != nil {
		t.Skipf("Kannel not installed: %v", err)
	}
	if os.Getenv(insideEnv) == "" {
		enter(t, binary(t))
		return
	}
	if err := furnish(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	mmscs := [2]*mmsc{newMMSC(t), newMMSC(t)}
	a := serve(t, binary(t), "127.0.0.1:53", "127.0.0.1:80", "127.0.0.1:8090", "127.0.0.1", mmscs[:]...)
	lab := start(t, kannel.Options{Address: "127.0.0.1"})
	story(t, lab, a, "http://mms.example.net/", mmscs)
	if n := a.sum(t, "mmsrouter_dns_queries_total", `rcode="NOERROR"`); n == 0 {
		t.Error("the gateway never asked the router for the MMS domain")
	}
}

// enter runs the test again in namespaces of its own for network, mounts and processes: when it ends,
// whatever it started ends too.
func enter(t *testing.T, program string) {
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=90s")
	cmd.Env = append(os.Environ(), insideEnv+"=1", binaryEnv+"="+program)
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skipf("no namespaces allowed here: %v", err)
	}
	t.Logf("inside:\n%s", out)
	if err != nil {
		t.Errorf("inside the namespaces: %v", err)
	}
}

// furnish brings the loopback up and makes the router the system's resolver.
func furnish(dir string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	for name, text := range map[string]string{
		"resolv.conf":   "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n",
		"nsswitch.conf": "hosts: files dns\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, "/etc/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("put our /etc/%s in place: %w", name, err)
		}
	}
	return nil
}
