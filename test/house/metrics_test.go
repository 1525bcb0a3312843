package house_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/cluster/takeover"
	"github.com/mmsrouter/mmsrouter/mms"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// metricRow is a metric as it describes itself.
type metricRow struct{ name, labels, help string }

var (
	described = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), (?:unit: "[^"]*", )?constLabels: \{(.*?)\}, variableLabels: \{(.*)\}\}$`)
	constName = regexp.MustCompile(`([a-z_]+)="`)
)

// metricsOfAnAppliance asks a whole one, the embedded MMSC included, for all that it can count.
func metricsOfAnAppliance(t *testing.T) []metricRow {
	t.Helper()
	cfg, err := app.Load("")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Node.Data, cfg.MM1.AccessLog.Path = t.TempDir(), "off"
	cfg.DNS.Listen, cfg.MM1.Listen, cfg.Admin.Listen = []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}, "127.0.0.1:0"
	cfg.Cluster.Listen, cfg.Takeover.Interface = "127.0.0.1:0", "lo"
	cfg.Takeover.Routers = []takeover.RouterConfig{{Name: cfg.Node.Name, Peer: "192.0.2.1", Addresses: []string{"192.0.2.101/24"}}}
	a, err := app.New(app.Options{Config: cfg, Version: "test", LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	defer func() {
		a.Drain()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	rows := counted(t, a)
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		a.Registry().Describe(ch)
	}()
	for d := range ch {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Errorf("can't read %s", d)
			continue
		}
		var name, help string
		if _, err := fmt.Sscanf(m[1]+" "+m[2], "%q %q", &name, &help); err != nil {
			t.Errorf("%s: %v", d, err)
		}
		var labels []string
		for _, c := range constName.FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, c[1])
		}
		if m[4] != "" {
			labels = append(labels, strings.Split(m[4], ",")...)
		}
		if row := (metricRow{name, strings.Join(labels, ","), help}); !slices.ContainsFunc(rows, func(r metricRow) bool { return r.name == name }) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b metricRow) int { return strings.Compare(a.name+a.labels, b.name+b.labels) })
	return slices.Compact(rows)
}

// counted gives the metrics that have a value after a message; some are made only when they are asked for and do
// not describe themselves.
func counted(t *testing.T, a *app.App) []metricRow {
	t.Helper()
	mm1 := "http://" + a.Listening()["mm1.listen"][0] + "/"
	pdu := mms.SendReq{TransactionID: "T1", From: "+46701740605/TYPE=PLMN", To: []string{"+46701740606/TYPE=PLMN"}}.AppendHead(nil)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(mm1, "application/vnd.wap.mms-message", bytes.NewReader(append(pdu, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for {
		families, err := a.Registry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		var rows []metricRow
		for _, f := range families {
			var labels []string
			for _, l := range f.GetMetric()[0].GetLabel() {
				labels = append(labels, l.GetName())
			}
			rows = append(rows, metricRow{f.GetName(), strings.Join(labels, ","), f.GetHelp()})
		}
		if slices.ContainsFunc(rows, func(r metricRow) bool { return r.name == "mmsrouter_proxy_messages_total" }) {
			return rows
		}
		select {
		case <-tick.C: // it is counted after the answer has gone out
		case <-late:
			t.Fatal("the message was not counted")
		}
	}
}

func TestMetrics(t *testing.T) {
	rows := metricsOfAnAppliance(t)
	have := map[string]string{}
	for _, r := range rows {
		have[r.name] = r.labels
		if strings.HasPrefix(r.name, "mmsrouter_go_") || strings.HasPrefix(r.name, "mmsrouter_process_") {
			continue
		}
		if !metricName.MatchString(r.name) {
			t.Errorf("metric %s: want mmsrouter_<room>_<thing>_<unit>", r.name)
		}
		if r.help == "" {
			t.Errorf("metric %s says nothing of itself", r.name)
		}
	}
	for name, labels := range map[string]string{
		"mmsrouter_proxy_messages_total":          "mmsc,pdu,result",
		"mmsrouter_proxy_attempts_total":          "mmsc,phase",
		"mmsrouter_proxy_ambiguous_retries_total": "",
		"mmsrouter_mmsc_up":                       "mmsc",
		"mmsrouter_dns_queries_total":             "qtype,rcode",
	} {
		if got, ok := have[name]; !ok || got != labels {
			t.Errorf("the contract has %s{%s}; there is {%s}, %v", name, labels, got, ok)
		}
	}
	t.Run("docs/metrics.md follows the code", func(t *testing.T) {
		var b bytes.Buffer
		b.WriteString("# Metrics\n\nEvery metric of `/metrics` on the admin address, made from the code by `go test ./test/house -run TestMetrics -update`.\n" +
			"Label values are closed sets. Go's own and the process's figures come as `mmsrouter_go_*` and `mmsrouter_process_*`. Which of them to watch\n" +
			"stands in [operations.md](operations.md).\n\n| metric | labels | what it counts |\n|---|---|---|\n")
		for _, r := range rows {
			if !strings.HasPrefix(r.name, "mmsrouter_go_") && !strings.HasPrefix(r.name, "mmsrouter_process_") {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.name, strings.ReplaceAll(r.labels, ",", ", "), strings.ReplaceAll(r.help, "|", `\|`))
			}
		}
		file := filepath.Join(root, "docs", "metrics.md")
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, b.Bytes()) {
			t.Errorf("it is stale (%v); write it anew with: go test ./test/house -run TestMetrics -update", err)
		}
	})
}
