// Package check tries out a server from where the program runs, as a browser and an
// attacker would, and says in plain words what works.
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

// A State is how a check ended.
type State string

const (
	OK      State = "ok"
	Warning State = "warning" // it works, but not for everybody
	Failed  State = "failed"
	Open    State = "open"    // strangers can do what they should not
	Skipped State = "skipped" // it needs what another check has not found
)

// A Result is what one check found. Detail and Advice are sentences for people. They name
// no id, no password and no credential.
type Result struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}

// Config says what to check. All fields but URL have defaults.
type Config struct {
	URL      string // of the server: http(s)://HOST[:PORT][/BASE/]
	Insecure bool   // go on with a certificate that nobody trusts

	// Timeout is how long one step may take, beside the time that a poll waits; 10 s.
	Timeout time.Duration
}

// each check gets this much time, unless the Config says otherwise.
const defaultTimeout = 10 * time.Second

// checker is one run.
type checker struct {
	Config
	base   *url.URL // ends with a slash
	http   *http.Client
	report func(Result)

	ice     []iceServer  // what /ice names
	relayed []relayedURL // the TURN URLs that gave an address
}

// ParseURL reads the URL of a server. That of its inboxes means the same.
func ParseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be read")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("the URL is of the form https://HOST[:PORT]")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL has no password, query or fragment")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "inbox"), "/") + "/"
	u.RawPath = ""
	return u, nil
}

// Run checks a server and reports each result as soon as it is known. It opens inboxes
// with random ids, and closes them. It fails only if the URL makes no sense or ctx ends.
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

// do reports what f returns, which has the time of one step.
func (c *checker) do(ctx context.Context, name string, f func(context.Context) Result) (worked bool) {
	if ctx.Err() != nil {
		return false
	}
	step, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r := f(step)
	r.Check, r.Detail = name, printable(r.Detail)
	if ctx.Err() != nil {
		return false // the result says only that it was interrupted
	}
	c.report(r)
	return r.State == OK || r.State == Warning
}

// printable keeps what a server says from controlling the terminal.
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

// plain says of a network error only what people need.
func plain(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}

// a peer of the check, whose id nobody else has.
type peer struct{ id, password string }

func newPeer() peer { return peer{"check-" + rand.Text(), rand.Text()} }
