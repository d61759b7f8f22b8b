package browser

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config defines which pages may use a server and how.
type Config struct {
	Origins []string     // such as https://example.com, https://*.example.com, http://localhost:*; empty or "*" for all
	Methods string       // methods that pages may use, as a list
	Expose  string       // response headers that pages may read, as a list
	Echo    bool         // if all origins are allowed, return the page's own origin instead of "*"
	Log     *slog.Logger // logs refused pages; required
}

// Pages decides which pages may use a server. It is safe for concurrent use.
type Pages struct {
	Config
	any      bool
	exact    map[string]bool
	patterns []origin
	refusals refusals
}

// New validates the configuration. Its error names the invalid origin and the reason.
func New(c Config) (*Pages, error) {
	p := &Pages{Config: c, exact: make(map[string]bool), refusals: refusals{log: c.Log}}
	if len(c.Origins) == 0 {
		p.any = true
	}
	for _, text := range c.Origins {
		if text == anything {
			p.any = true
			continue
		}
		o, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		if o.isPattern() {
			p.patterns = append(p.patterns, o)
		} else {
			p.exact[o.String()] = true
		}
	}
	if p.any && len(c.Origins) > 1 {
		return nil, fmt.Errorf("origins %s: * allows all and stands alone", strings.Join(c.Origins, ", "))
	}
	return p, nil
}

// permits reports whether the configuration allows an origin.
func (p *Pages) permits(text string) bool {
	if p.any || p.exact[text] {
		return true
	}
	o, ok := parseSent(text)
	return ok && (p.exact[o.String()] || slices.ContainsFunc(p.patterns, func(pattern origin) bool { return pattern.matches(o) }))
}

// sender returns the Origin of a request, and false if it has none. Several values never
// match an allowed origin.
func sender(h http.Header) (text string, ok bool) {
	values := h["Origin"]
	if len(values) != 1 {
		return strings.Join(values, ", "), len(values) > 0
	}
	return values[0], values[0] != ""
}

// May reports whether a request is allowed: it comes from a program, from an allowed page
// or from this server's own page. It logs refused pages.
func (p *Pages) May(r *http.Request) bool {
	text, ok := sender(r.Header)
	if !ok || p.permits(text) || isOwn(r, text) {
		return true
	}
	p.refusals.add(text, r.Host)
	return false
}

// CORS sets the CORS headers of an answer. If the request is a preflight, it answers it
// and returns true.
func (p *Pages) CORS(w http.ResponseWriter, r *http.Request) (answered bool) {
	header := w.Header()
	if !p.any || p.Echo {
		header.Add("Vary", "Origin")
	}
	text, ok := sender(r.Header)
	if !ok {
		return false
	}
	preflight := r.Method == http.MethodOptions && len(r.Header["Access-Control-Request-Method"]) > 0
	permitted := p.permits(text)
	switch {
	case !permitted && !preflight:
		return false
	case !permitted:
		if !isOwn(r, text) { // pages send no preflight to their own server
			p.refusals.add(text, r.Host)
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	allow := text
	if p.any && !p.Echo {
		allow = anything
	}
	if !preflight {
		header.Set("Access-Control-Allow-Origin", allow)
		if p.Expose != "" {
			header.Set("Access-Control-Expose-Headers", p.Expose)
		}
		return false
	}
	header.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	asked, ok := requestHeaders(r.Header["Access-Control-Request-Headers"])
	if !ok || !p.permitsMethod(r.Header["Access-Control-Request-Method"]) {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	header.Set("Access-Control-Allow-Origin", allow)
	header.Set("Access-Control-Allow-Methods", p.Methods)
	if asked != "" {
		header.Set("Access-Control-Allow-Headers", asked)
	}
	header.Set("Access-Control-Max-Age", "7200") // the maximum in Chromium
	w.WriteHeader(http.StatusNoContent)
	return true
}

func (p *Pages) permitsMethod(asked []string) bool {
	return len(asked) == 1 && slices.Contains(strings.Split(p.Methods, ", "), asked[0])
}

// maxAsked bounds the list of headers in a preflight, in bytes. Tracing tools add about a
// dozen names of 20 bytes.
const maxAsked = 4 << 10

// requestHeaders returns the headers that a preflight asks for, in lower case. All valid
// names are allowed: there are no cookies to protect, and tracing tools add headers to
// every request of a page.
func requestHeaders(lines []string) (list string, ok bool) {
	all := strings.Join(lines, ",")
	if len(all) > maxAsked {
		return "", false
	}
	var names []string
	for name := range strings.SplitSeq(all, ",") {
		switch name = strings.ToLower(strings.Trim(name, " \t")); {
		case name == "":
		case !isToken(name):
			return "", false
		default:
			names = append(names, name)
		}
	}
	return strings.Join(names, ","), true
}

// isToken reports whether s is a token (RFC 9110, 5.6.2) in lower case.
func isToken(s string) bool {
	return strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// maxRefusals bounds how many origins are logged per refusalsAge, since strangers can
// send any number of them.
const (
	maxRefusals = 64
	refusalsAge = time.Hour
)

// refusals logs each refused origin once. It forgets all of them after refusalsAge, so
// that invented origins do not keep a real one out of the log forever.
type refusals struct {
	log *slog.Logger

	mu    sync.Mutex // guards the fields below
	known map[string]bool
	since time.Time
}

func (f *refusals) add(text, host string) {
	try := "--allow-origin " + text
	switch o, err := parsePattern(text); {
	case text == "null":
		try = "serve the page by http: only --allow-origin * allows files and sandboxed frames"
	case err != nil || o.isPattern() || !strings.EqualFold(o.String(), text):
		text, try = "invalid", "no browser sends such an Origin"
	}
	if len(host) > maxOrigin {
		host = host[:maxOrigin]
	}
	last, fresh := f.enter(text)
	if !fresh {
		return
	}
	f.log.Warn("refused a page: its origin is neither allowed nor the server's own", "origin", text, "host", host, "try", try)
	if last {
		f.log.Warn("refused pages of many origins: further ones are not logged for a while", "origins", maxRefusals)
	}
}

// enter reports whether an origin is new, and whether it is the last one there is room
// for.
func (f *refusals) enter(text string) (last, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.known == nil || now.Sub(f.since) >= refusalsAge {
		f.known, f.since = make(map[string]bool), now
	}
	if f.known[text] || len(f.known) >= maxRefusals {
		return false, false
	}
	f.known[text] = true
	return len(f.known) == maxRefusals, true
}
