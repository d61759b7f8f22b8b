package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/internal/acme"
	"inbox/internal/flight"
	"inbox/internal/inboxtest"
	"inbox/internal/meter"
	"inbox/internal/metrics"
	"inbox/internal/outcome"
	"inbox/internal/redistest"
	"inbox/internal/relay"
	"inbox/internal/server"
	"inbox/memstore"
	"inbox/memtopics"
	"inbox/peerjs"
	"inbox/redisstore"
	"inbox/redistopics"
	"inbox/topichttp"
)

// everyFamily returns the metrics of a server with every feature. Their values are not
// used.
func everyFamily() (all []metrics.Family) {
	var m meter.Meter
	all = append(all, new(operations).families()...)
	all = append(all, trafficFamilies(&m, meter.NewRefusals(false))...)
	all = append(all, memoryFamilies(memstore.New(inbox.Limits{}), 1, 1)...)
	all = append(all, redisFamilies(new(redisstore.Store), new(meter.Histogram))...)
	all = append(all, serverFamilies(new(server.Server), flight.New(0), func() bool { return true })...)
	all = append(all, peerFamilies(new(peerjs.Handler))...)
	all = append(all, topicFamilies(memtopics.New(inbox.TopicLimits{}))...)
	all = append(all, lostFamilies(new(redistopics.Topics))...)
	all = append(all, memberFamilies(new(topichttp.Handler))...)
	all = append(all, certificateFamilies(func() []acme.Certificate { return nil })...)
	all = append(all, outcomeFamilies(new(outcome.Counts))...)
	all = append(all, relayFamilies(new(relay.Server))...)
	return metrics.New(metrics.Config{Families: all, Version: "1"}).Families()
}

func familyNames() (names []string) {
	for _, f := range everyFamily() {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// watchedServer is a server with metrics.
type watchedServer struct {
	*running
	metrics string // URL
}

func serveWatched(t *testing.T, flags ...string) watchedServer {
	t.Helper()
	r := serve(t, append([]string{"--metrics-listen=127.0.0.1:0", "--drain=0s", "--turn=off"}, flags...)...)
	return watchedServer{r, strings.TrimSuffix(r.log.await(t, `msg="metrics and a page for operators" at=(\S+)`), "/")}
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (s watchedServer) scrape(t *testing.T) string {
	t.Helper()
	status, text := fetch(t, s.metrics+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("a scrape got %d %s", status, text)
	}
	return text
}

// value returns the value of a sample, such as inbox_receivers{transport="socket"}.
func value(t *testing.T, text, sample string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(sample) + ` (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no sample %s in\n%s", sample, text)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s watchedServer) until(t *testing.T, sample string, want float64) {
	t.Helper()
	inboxtest.Until(t, fmt.Sprintf("%s is %g", sample, want), func() bool { return value(t, s.scrape(t), sample) == want })
}

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: make deps installs it")
	}
	c := exec.CommandContext(t.Context(), tool, args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil || strings.Contains(string(out), "\n\n<stdin>") {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// promtool accepts the metrics of a server with every feature, with each store.
func TestMetricsFollowConventions(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	pepper := filepath.Join(t.TempDir(), "pepper")
	if err := os.WriteFile(pepper, []byte(strings.Repeat("p", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	redis := redistest.Start(t)
	shown := make(map[string]bool)
	for _, flags := range [][]string{
		{"--tls=self-signed", "--turn=closed", "--turn-listen=127.0.0.1:0"},
		{"--store=" + redis.URL(), "--pepper-file=" + pepper},
	} {
		s := serveWatched(t, flags...)
		text := s.scrape(t)
		promtool(t, text, "check", "metrics")
		for _, found := range regexp.MustCompile(`(?m)^# TYPE (inbox_\S+) `).FindAllStringSubmatch(text, -1) {
			shown[found[1]] = true
		}
		s.end(t)
	}
	if got, want := slices.Sorted(maps.Keys(shown)), familyNames(); !slices.Equal(got, want) {
		t.Errorf("servers have %v,\nwant %v", got, want)
	}
}

// Every metric named in the docs, the dashboard, the alerts and the page exists, and the
// docs list all metrics.
func TestMetricsAreDocumented(t *testing.T) {
	names := familyNames()
	docs := read(t, "../../docs/operations.md")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(inbox_[a-z0-9_]+)[`{]").FindAllStringSubmatch(docs, -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(documented)
	if !slices.Equal(documented, names) {
		t.Errorf("docs/operations.md lists\n%v,\nbut servers have\n%v", documented, names)
	}
	for _, f := range everyFamily() {
		for _, label := range f.Labels {
			if !strings.Contains(docs, "`"+label+"`") && !strings.Contains(docs, label+"}") && !strings.Contains(docs, label+",") {
				t.Errorf("docs/operations.md lacks the label %s of %s", label, f.Name)
			}
		}
	}
	for _, why := range meter.Reasons() {
		if !strings.Contains(docs, "`"+why.String()+"`") {
			t.Errorf("docs/operations.md lacks the reason %s", why)
		}
	}
	for _, file := range []string{"deploy/grafana/inbox.json", "deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml", "internal/metrics/page/page.js"} {
		used := 0
		for _, name := range regexp.MustCompile(`inbox_[a-z0-9_]+`).FindAllString(read(t, "../../"+file), -1) {
			used++
			if !slices.Contains(names, name) && !slices.Contains(names, derived.ReplaceAllString(name, "")) {
				t.Errorf("%s names %s, which does not exist", file, name)
			}
		}
		if used == 0 {
			t.Errorf("%s names no metric", file)
		}
	}
}

// derived matches the suffixes of the series of a histogram.
var derived = regexp.MustCompile(`_(bucket|count|sum|p50|p99)$`)

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Labels and their values in queries exist, so that no panel or alert is silently empty.
func TestQueriesNameExistingLabels(t *testing.T) {
	labels := []string{"job", "instance", "le"}
	for _, f := range everyFamily() {
		labels = append(labels, f.Labels...)
	}
	var reasons []string
	for _, why := range meter.Reasons() {
		reasons = append(reasons, why.String())
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "../../deploy/grafana/inbox.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, target.Expr)
		}
	}
	if len(queries) < 30 {
		t.Errorf("the dashboard has %d queries", len(queries))
	}
	// Prometheus can parse the queries, with values in place of Grafana's variables.
	var rules struct {
		Groups []map[string]any `json:"groups"`
	}
	var all []map[string]string
	for i, query := range queries {
		query = strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*").Replace(query)
		all = append(all, map[string]string{"record": fmt.Sprintf("dashboard:%d", i), "expr": query})
	}
	rules.Groups = []map[string]any{{"name": "dashboard", "rules": all}}
	file := filepath.Join(t.TempDir(), "rules.yml")
	content, err := json.Marshal(rules) // JSON is also YAML
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
	for _, rule := range regexp.MustCompile(`(?ms)^        expr: (.+?)\n        \w`).FindAllStringSubmatch(read(t, "../../deploy/prometheus/alerts.yml"), -1) {
		queries = append(queries, rule[1])
	}
	for _, query := range queries {
		for _, by := range regexp.MustCompile(`by \(([^)]+)\)`).FindAllStringSubmatch(query, -1) {
			for label := range strings.SplitSeq(by[1], ",") {
				if !slices.Contains(labels, strings.TrimSpace(label)) {
					t.Errorf("the label %s does not exist: %s", label, query)
				}
			}
		}
		for _, match := range regexp.MustCompile(`(\w+)(=|!=|=~|!~)"([^"]*)"`).FindAllStringSubmatch(query, -1) {
			if !slices.Contains(labels, match[1]) {
				t.Errorf("the label %s does not exist: %s", match[1], query)
			}
			if match[1] != "reason" || strings.Contains(query, "inbox_turn") {
				continue
			}
			for pattern := range strings.SplitSeq(match[3], "|") {
				full := regexp.MustCompile("^(" + pattern + ")$")
				if !slices.ContainsFunc(reasons, full.MatchString) {
					t.Errorf("the reason %s does not exist: %s", pattern, query)
				}
			}
		}
	}
}

// The rules in deploy/prometheus are valid, fire when they should, and each has a line on
// what to do.
func TestAlerts(t *testing.T) {
	const dir = "../../deploy/prometheus/"
	promtool(t, "", "check", "config", dir+"prometheus.yml")
	promtool(t, "", "check", "rules", dir+"alerts.yml")
	promtool(t, "", "test", "rules", dir+"alerts_test.yml")
	rules := read(t, dir+"alerts.yml")
	alerts, runbooks := strings.Count(rules, "- alert:"), strings.Count(rules, "          runbook: ")
	if alerts == 0 || alerts != runbooks {
		t.Errorf("%d alerts have %d lines on what to do", alerts, runbooks)
	}
}

// Metrics and the page contain nothing that a peer chose, and no address.
func TestMetricsContainNoIdentities(t *testing.T) {
	s := serveWatched(t, "--pprof", "--max-body=1000", "--inbox-capacity=2", "--max-wait=1s", "--log-clients", "--trusted-proxy=127.0.0.1")
	c := &talker{t, s.running, &http.Client{}}
	c.talk()
	c.callPeers()
	s.requestFrom(t, "198.51.100.77")
	for _, path := range []string{"/metrics", "/state", "/debug/pprof/goroutine?debug=1"} {
		_, text := fetch(t, s.metrics+path)
		text = strings.ToLower(text)
		for name, canary := range canaries {
			for form, hidden := range forms(canary) {
				if strings.Contains(text, strings.ToLower(hidden)) {
					t.Errorf("%s names the %s, %s", path, name, form)
				}
			}
		}
		if strings.Contains(text, "kanari") || strings.Contains(text, "198.51.100") {
			t.Errorf("%s contains what a peer chose, or an address", path)
		}
	}
	if n := value(t, s.scrape(t), `inbox_refused_total{reason="unauthorized"}`); n == 0 {
		t.Error("no refusal was counted, so this test proves nothing")
	}
}

// Each receiver is counted while it waits, on every transport, and no longer.
func TestReceiversAreCounted(t *testing.T) {
	s := serveWatched(t)
	basic := func(id string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":password"))
	}
	host := strings.TrimPrefix(s.url, "http://")
	for _, wait := range []struct{ transport, request string }{
		{"long-poll", "GET /inbox?after=0&wait=20 HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("poller") + "\r\n\r\n"},
		{"stream", "GET /inbox HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: " + basic("streamer") + "\r\n\r\n"},
		{"socket", "GET /inbox HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: inbox.v1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: " + basic("socketeer") + "\r\n\r\n"},
		{"peerjs", "GET /peerjs?key=peerjs&id=p&token=t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"},
	} {
		sample := `inbox_receivers{transport="` + wait.transport + `"}`
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, wait.request); err != nil {
			t.Fatal(err)
		}
		s.until(t, sample, 1)
		if wait.transport == "long-poll" { // a second poll, which is answered
			s.until(t, "inbox_connections_parked", 1)
			send(t, s.url, "sender", "poller")
			s.until(t, sample, 0)
			if _, err := io.WriteString(conn, wait.request); err != nil {
				t.Fatal(err)
			}
			// The message stays until it is acknowledged, so this poll does not wait.
			s.until(t, `inbox_requests_total{code="200",transport="long-poll"}`, 2)
		}
		conn.Close()
		s.until(t, sample, 0)
	}
	text := s.scrape(t)
	for sample, want := range map[string]float64{
		`inbox_requests_total{code="200",transport="http"}`:   1,
		`inbox_requests_total{code="200",transport="stream"}`: 1,
		`inbox_requests_total{code="101",transport="socket"}`: 1,
		`inbox_requests_total{code="101",transport="peerjs"}`: 1,
		`inbox_connections_accepted_total`:                    5, // one of them for the send
		`inbox_messages_accepted_total`:                       1,
		`inbox_messages`:                                      1,
		`inbox_messages_bytes`:                                2,
		`inbox_store_operations_total{operation="send"}`:      1,
		`inbox_delivery_seconds_count`:                        0,
	} {
		if got := value(t, text, sample); got != want {
			t.Errorf("%s is %g, want %g", sample, got, want)
		}
	}
}

func send(t *testing.T, url, from, to string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/inbox?to="+to, strings.NewReader("hi"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(from, "password")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("a send got %d", res.StatusCode)
	}
}

// The public listener does not serve metrics, and the metrics listener serves nothing
// else.
func TestMetricsListenerIsSeparate(t *testing.T) {
	s := serveWatched(t)
	for _, path := range []string{"/metrics", "/state", "/debug/pprof/", "/debug/pprof/heap"} {
		if status, _ := fetch(t, s.url+path); status != http.StatusNotFound {
			t.Errorf("clients get %d for %s, want 404", status, path)
		}
	}
	for path, want := range map[string]int{
		"/": 200, "/page.js": 200, "/chart.js": 200, "/page.css": 200, "/metrics": 200, "/state": 200, "/state?after=-9999999999999999999": 200,
		"/state?after=1000000000": 200, "/inbox": 404, "/debug/pprof/": 404, "/debug/pprof/heap": 404, "/page/": 404, "/index.html": 404,
	} {
		if status, _ := fetch(t, s.metrics+path); status != want {
			t.Errorf("operators get %d for %s, want %d", status, path, want)
		}
	}
	profiled := serveWatched(t, "--pprof")
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine": 200, "/debug/pprof/cmdline": 404} {
		if status, _ := fetch(t, profiled.metrics+path); status != want {
			t.Errorf("with --pprof, operators get %d for %s, want %d", status, path, want)
		}
	}
	// A page that resolves its own name to this address (DNS rebinding).
	for host, want := range map[string]int{"evil.example": 403, "evil.example:9600": 403, "localhost:9600": 200, "[::1]:9600": 200, "127.0.0.1": 200} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.metrics+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("a request for %s gets %d, want %d", host, res.StatusCode, want)
		}
	}
	// A page of another site that loads a profile as an image, or links to it.
	for _, c := range []struct {
		site, dest string
		want       int
	}{{"cross-site", "image", 403}, {"cross-site", "iframe", 403}, {"cross-site", "document", 200}, {"same-origin", "empty", 200}, {"none", "document", 200}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, profiled.metrics+"/debug/pprof/heap", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Sec-Fetch-Site": {c.site}, "Sec-Fetch-Dest": {c.dest}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("a request for a %s (%s) gets %d, want %d", c.dest, c.site, res.StatusCode, c.want)
		}
	}
}

// A server that starts while another is stopping waits for its metrics port. If another
// program has the port, the server reports it.
func TestMetricsPortInUse(t *testing.T) {
	for what, ready := range map[string]string{"a server that is stopping": "0", "a server that is not": "1"} {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan struct{}, 10)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "# TYPE inbox_ready gauge\ninbox_ready "+ready+"\n")
			asked <- struct{}{}
		})}
		go srv.Serve(taken)
		if ready == "0" {
			go func() { <-asked; srv.Close() }()
		}
		c := serveCommand{watchFlags: watchFlags{MetricsListen: taken.Addr().String()}, Drain: time.Minute}
		ln, err := c.listenMetrics(t.Context(), slog.New(slog.DiscardHandler))
		if (err == nil) != (ready == "0") {
			t.Errorf("behind %s: %v", what, err)
		}
		if err == nil {
			ln.Close()
		}
		srv.Close()
	}
}
