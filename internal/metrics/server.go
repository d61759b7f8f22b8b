package metrics

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"inbox/internal/meter"
)

const (
	// mostConnections bounds who asks at a time. Others wait in the kernel's backlog.
	mostConnections = 32
	// mostScrapes bounds the scrapes at a time. Others get 503.
	mostScrapes = 4
	// longestProfile is for a profile of a minute, and what is around it.
	longestProfile = 90 * time.Second
)

//go:embed page
var page embed.FS

// Config says what to show.
type Config struct {
	Families []Family
	Version  string // of the program
	Pprof    bool   // profiles of the program too
	Log      *slog.Logger
}

// A Server answers operators. Make one with [New].
type Server struct {
	config   Config
	registry *prometheus.Registry
	history  *history
	started  time.Time
}

// New returns a server that does not serve yet. It panics if two families have one name,
// or a name that Prometheus does not take.
func New(c Config) *Server {
	c.Families = append([]Family{Gauges("inbox_build_info", "The version of the program and of Go; the value is 1.", []string{"version", "go"},
		func(emit func(float64, ...string)) { emit(1, c.Version, runtime.Version()) })}, c.Families...)
	s := &Server{config: c, registry: prometheus.NewRegistry(), history: newHistory(c.Families), started: time.Now()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, f := range c.Families {
		s.registry.MustRegister(newCollector(f))
	}
	return s
}

// Families returns what the server shows, but for the metrics of Go and of the process.
func (s *Server) Families() []Family { return s.config.Families }

// Run takes ownership of ln. It answers and takes samples until ctx ends.
func (s *Server) Run(ctx context.Context, ln net.Listener) {
	srv := &http.Server{
		Handler:           s.Handler(ln.Addr()),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      longestProfile,
		IdleTimeout:       2 * time.Minute, // longer than between two scrapes
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(&debugLog{s.config.Log}, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	go s.sample(ctx)
	if err := srv.Serve(netutil.LimitListener(ln, mostConnections)); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.config.Log.Error("metrics are not served any more", "error", err)
	}
}

// debugLog takes what net/http says about connections.
type debugLog struct{ log *slog.Logger }

func (l *debugLog) Write(line []byte) (int, error) {
	l.log.Debug(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// sample takes samples until ctx ends.
func (s *Server) sample(ctx context.Context) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	s.history.sample()
	for {
		select {
		case <-tick.C:
			s.history.sample()
		case <-ctx.Done():
			return
		}
	}
}

// Handler returns every URL of the server, which listens at addr.
func (s *Server) Handler(addr net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: mostScrapes, ErrorHandling: promhttp.HTTPErrorOnError}))
	mux.HandleFunc("GET /state", s.serveState)
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // they are embedded
	}
	static := http.FileServerFS(files)
	for _, name := range []string{"{$}", "page.css", "page.js", "chart.js"} {
		mux.Handle("GET /"+name, static)
	}
	if s.config.Pprof {
		// Not the command line, which may hold a password.
		mux.HandleFunc("GET /debug/pprof/{$}", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
			mux.Handle("GET /debug/pprof/"+name, pprof.Handler(name))
		}
	}
	return private(addr, mux)
}

// private adds what every answer carries, and refuses pages that have found a name for
// this machine (DNS rebinding): on a loopback address nobody else asks by a name.
func private(addr net.Addr, next http.Handler) http.Handler {
	loopback := false
	if a, ok := addr.(*net.TCPAddr); ok {
		loopback = a.IP.IsLoopback()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if loopback && !ownName(r.Host) {
			http.Error(w, "Ask for this page by the address that the server listens at, or as localhost.", http.StatusForbidden)
			return
		}
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Dest") != "document" {
			http.Error(w, "Other sites may link here, and nothing else.", http.StatusForbidden) // they could start profiles
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName reports whether a Host is an address or localhost.
func ownName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	_, err = netip.ParseAddr(name)
	return err == nil || name == "localhost"
}

var meanings = func() map[string]string {
	all := make(map[string]string)
	for _, why := range meter.Reasons() {
		all[why.String()] = why.Meaning()
	}
	return all
}()

// serveState answers the page: with the samples of the last hour, or those after a number.
func (s *Server) serveState(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after")) // or all of them
	answer := struct {
		state
		Version string            `json:"version"`
		Started int64             `json:"started"`
		Reasons map[string]string `json:"reasons"` // what each reason of a refusal means
	}{s.history.state(time.Now(), after), s.config.Version, s.started.Unix(), meanings}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) // or the client is gone
}
