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

// Config says which pages may use a server, and for what.
type Config struct {
	Origins []string     // as in https://example.com, https://*.example.com, http://localhost:*; none or "*" is all
	Methods string       // that pages may use, a list
	Expose  string       // headers of answers that pages may read, a list
	Echo    bool         // with all origins allowed, an answer names the page's own and not "*"
	Log     *slog.Logger // for pages that were refused; required
}

// Pages decides which pages may use a server. It is safe for concurrent use.
type Pages struct {
	Config
	any      bool
	exact    map[string]bool
	patterns []origin
	refusals refusals
}

// New checks the configuration. An error says which origin is wrong, and how.
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

// permits reports whether an origin was allowed.
func (p *Pages) permits(text string) bool {
	if p.any || p.exact[text] {
		return true
	}
	o, ok := parseSent(text)
	return ok && (p.exact[o.String()] || slices.ContainsFunc(p.patterns, func(pattern origin) bool { return pattern.matches(o) }))
}

// sender is the Origin of a request. Two are as good as one that is not allowed.
func sender(h http.Header) (text string, ok bool) {
	values := h["Origin"]
	if len(values) != 1 {
		return strings.Join(values, ", "), len(values) > 0
	}
	return values[0], values[0] != ""
}

// May reports whether a request may go on: a program sent it, or a page that is
// allowed or this server's own. A refused page is logged.
func (p *Pages) May(r *http.Request) bool {
	text, ok := sender(r.Header)
	if !ok || p.permits(text) || isOwn(r, text) {
		return true
	}
	p.refusals.add(text, r.Host)
	return false
}

// CORS sets the headers that let pages read an answer. It answers a preflight, and
// reports that.
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
		if !isOwn(r, text) { // a page does not ask its own server
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
	header.Set("Access-Control-Max-Age", "7200") // the most that Chromium takes
	w.WriteHeader(http.StatusNoContent)
	return true
}

func (p *Pages) permitsMethod(asked []string) bool {
	return len(asked) == 1 && slices.Contains(strings.Split(p.Methods, ", "), asked[0])
}

// maxAsked bounds the names that one preflight may ask for, in bytes. Tracing adds a
// dozen names of 20 bytes.
const maxAsked = 4 << 10

// requestHeaders reads what a preflight asks for. All of it is allowed: there are no
// cookies to protect, and tracing adds headers to every request of a page. Only names of
// headers come back, in lower case.
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

// isToken is RFC 9110, 5.6.2, in lower case.
func isToken(s string) bool {
	return strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// maxRefusals bounds how many origins a server logs in refusalsAge: strangers can send
// any number of them.
const (
	maxRefusals = 64
	refusalsAge = time.Hour
)

// refusals logs refused pages, once for each origin. It forgets them all after a while,
// so that an invented origin keeps no true one out of the log for good.
type refusals struct {
	log *slog.Logger

	mu    sync.Mutex // guards the rest
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
	f.log.Warn("refused a page: its origin is neither allowed nor that of the Host", "origin", text, "host", host, "try", try)
	if last {
		f.log.Warn("refused pages of many origins, and logs no more of them for a while", "origins", maxRefusals)
	}
}

// enter reports whether an origin is new, and whether there is room for no other.
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
