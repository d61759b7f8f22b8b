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
	// maxConnections bounds the concurrent connections. Others wait in the kernel's
	// backlog.
	maxConnections = 32
	// maxScrapes bounds the concurrent scrapes. Others get 503.
	maxScrapes = 4
	// longestProfile leaves room for a profile of one minute.
	longestProfile = 90 * time.Second
)

//go:embed page
var page embed.FS

// Config configures a Server.
type Config struct {
	Families []Family
	Version  string // of the program
	Pprof    bool   // serve profiles of the program too
	Log      *slog.Logger
}

// A Server serves metrics and the page. Create one with [New].
type Server struct {
	config   Config
	registry *prometheus.Registry
	history  *history
	started  time.Time
}

// New returns a Server. It panics if two families share a name, or if a name is invalid
// for Prometheus.
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

// Families returns all families, without the metrics of Go and of the process.
func (s *Server) Families() []Family { return s.config.Families }

// Run takes ownership of ln. It serves requests and takes samples until ctx ends.
func (s *Server) Run(ctx context.Context, ln net.Listener) {
	srv := &http.Server{
		Handler:           s.Handler(ln.Addr()),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      longestProfile,
		IdleTimeout:       2 * time.Minute, // longer than the interval of scrapes
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(&debugLog{s.config.Log}, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	go s.sample(ctx)
	if err := srv.Serve(netutil.LimitListener(ln, maxConnections)); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.config.Log.Error("the metrics server has failed", "error", err)
	}
}

// debugLog logs net/http's messages about connections at debug level.
type debugLog struct{ log *slog.Logger }

func (l *debugLog) Write(line []byte) (int, error) {
	l.log.Debug(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// sample takes a sample every step until ctx ends.
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

// Handler returns the handler of the server, which listens on addr.
func (s *Server) Handler(addr net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.HTTPErrorOnError}))
	mux.HandleFunc("GET /state", s.serveState)
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // cannot fail: the files are embedded
	}
	static := http.FileServerFS(files)
	for _, name := range []string{"{$}", "page.css", "page.js", "chart.js"} {
		mux.Handle("GET /"+name, static)
	}
	if s.config.Pprof {
		// Without cmdline, which may contain a password.
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

// private sets the headers of every response and guards against DNS rebinding: a server
// on a loopback address refuses requests for any host name but localhost.
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
			http.Error(w, "Open this page as localhost, or by the IP address that the server listens on.", http.StatusForbidden)
			return
		}
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Dest") != "document" {
			http.Error(w, "Other sites may only link to this page.", http.StatusForbidden) // otherwise other sites could start profiles
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName reports whether a Host is an IP address or localhost.
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

// serveState serves the data of the page: the samples of the last hour, or those after a
// given number.
func (s *Server) serveState(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after")) // 0, for all samples, if it is missing or invalid
	answer := struct {
		state
		Version string            `json:"version"`
		Started int64             `json:"started"`
		Reasons map[string]string `json:"reasons"` // meaning of each reason
	}{s.history.state(time.Now(), after), s.config.Version, s.started.Unix(), meanings}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) // fails only if the client is gone
}
