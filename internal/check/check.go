// Package check checks a running server from the outside, as a browser and an attacker
// would, and reports in plain words what works. Run performs all checks and reports each
// as a Result.
package check

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// A State is the outcome of a check.
type State string

const (
	OK      State = "ok"
	Warning State = "warning" // works, but not for everyone
	Failed  State = "failed"
	Open    State = "open"    // strangers have access that they should not have
	Skipped State = "skipped" // depends on a check that failed
)

// A Result is the outcome of one check. Detail and Advice are sentences for people. They
// contain no id, password or credential.
type Result struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}

// Config configures the checks. Only URL is required.
type Config struct {
	URL      string // URL of the server: http(s)://HOST[:PORT][/BASE/]
	Insecure bool   // continue if the certificate is not trusted

	// Timeout bounds each step, excluding the time for which a poll waits. The default is
	// 10 s.
	Timeout time.Duration
}

const defaultTimeout = 10 * time.Second

// checker is one run of the checks.
type checker struct {
	Config
	base   *url.URL // ends with a slash
	http   *http.Client
	report func(Result)

	ice     []iceServer  // as listed by /ice
	relayed []relayedURL // TURN URLs that provided an address
}

// ParseURL parses the URL of a server. The URL of its inboxes is accepted too.
func ParseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("invalid URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("the URL must look like https://HOST[:PORT]")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL must not have a password, query or fragment")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "inbox"), "/") + "/"
	u.RawPath = ""
	return u, nil
}

// Run checks a server and calls report with each result as soon as it is known. It opens
// inboxes with random ids and closes them. It returns an error only if the URL is invalid
// or ctx ends.
func Run(ctx context.Context, config Config, report func(Result)) error {
	base, err := ParseURL(config.URL)
	if err != nil {
		return err
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: config.Insecure}
	defer transport.CloseIdleConnections()
	c := &checker{
		Config: config, base: base, report: report,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if c.reach(ctx) {
		c.transports(ctx)
		c.calls(ctx)
		c.closed(ctx)
	}
	return ctx.Err()
}

// do runs f with the timeout of one step and reports its result.
func (c *checker) do(ctx context.Context, name string, f func(context.Context) Result) (worked bool) {
	if ctx.Err() != nil {
		return false
	}
	step, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r := f(step)
	r.Check, r.Detail = name, printable(r.Detail)
	if ctx.Err() != nil {
		return false // the result only reflects the interrupt
	}
	c.report(r)
	return r.State == OK || r.State == Warning
}

// printable replaces control characters, so that a server cannot control the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func ok(format string, a ...any) Result { return Result{State: OK, Detail: fmt.Sprintf(format, a...)} }

func failed(advice, format string, a ...any) Result {
	return Result{State: Failed, Detail: fmt.Sprintf(format, a...), Advice: advice}
}

func warning(advice, format string, a ...any) Result {
	return Result{State: Warning, Detail: fmt.Sprintf(format, a...), Advice: advice}
}

func (c *checker) skip(name, why string) { c.report(Result{name, Skipped, why, ""}) }

// plain returns the part of a network error that matters to people.
func plain(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no response in time"
	}
	return err.Error()
}

// peer is a peer with a random id.
type peer struct{ id, password string }

func newPeer() peer { return peer{"check-" + rand.Text(), rand.Text()} }
