package appliance

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Main runs a package's stories and gives their exit code, which is 1 also where goroutines of ours live on behind the last one.
func Main(m *testing.M) int {
	code := m.Run()
	if left := leaked(5 * time.Second); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left after the last story:\n%s\n", left)
		return 1
	}
	return code
}

// leaked gives the stacks of our goroutines that live on after the time, "" if there are none.
func leaked(limit time.Duration) string {
	end := time.Now().Add(limit)
	for {
		buf := make([]byte, 4<<20)
		var ours []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "mmsrouter/mmsrouter") && !strings.Contains(g, "_test.TestMain(") {
				ours = append(ours, g)
			}
		}
		if len(ours) == 0 {
			return ""
		}
		if time.Now().After(end) {
			return strings.Join(ours, "\n\n")
		}
		time.Sleep(10 * time.Millisecond) // nothing tells when a goroutine has ended
	}
}
