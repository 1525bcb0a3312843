package measure_test

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

func TestCPUOfATree(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh here")
	}
	// a shell whose child works until the kernel stops it after one second of processor time
	p, err := measure.Start(measure.Options{}, "sh", "-c", "(ulimit -t 1; while :; do :; done); sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	deadline := time.Now().Add(60 * time.Second)
	for measure.Total(p.Pid()) < 800*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatalf("a busy child's time does not show: %v", measure.Total(p.Pid()))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := measure.Peak(p.Pid()); n < 100<<10 || n > 1<<30 {
		t.Errorf("peak of a shell: %d octets", n)
	}
}

func TestTreeHasSelf(t *testing.T) {
	if ids := measure.Tree(os.Getpid()); len(ids) == 0 || ids[0] != os.Getpid() {
		t.Errorf("tree %v", ids)
	}
	if _, _, err := measure.CPU(1 << 30); err == nil {
		t.Error("no error for a process that is not there")
	}
}

func TestStartSaysWhyItFailed(t *testing.T) {
	p, err := measure.Start(measure.Options{}, "sh", "-c", "echo no such luck >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = p.WaitListening("127.0.0.1:1", 10*time.Second)
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("error %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []float64
		want float64
	}{
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 3, 100}, 3.5},
	} {
		if got := measure.Median(c.in); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if !math.IsNaN(measure.Median(nil)) {
		t.Error("a median of nothing")
	}
}

func TestTablePrints(t *testing.T) {
	tab := measure.NewTable("Cost", "CPU s", "nginx", "30 KB", "1 MB")
	for _, v := range []float64{0.2, 0.3, 0.4} {
		tab.Add("nginx", "30 KB", v)
		tab.Add("ours", "30 KB", v/2)
	}
	tab.Note("ours", "1 MB", "failed")
	var b bytes.Buffer
	tab.Print(&b)
	for _, want := range []string{"Cost [CPU s]", "0.300 (0.200–0.400)", "0.150 (0.100–0.200) ×0.50", "failed", "| -"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
