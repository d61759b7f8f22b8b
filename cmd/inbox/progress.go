package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"inbox"
	inboxclient "inbox/client"
)

// quietPeriod is how long a command makes no progress before it prints why. Most restarts of
// a server take less.
const quietPeriod = 2 * time.Second

// progress prints what a command is waiting for once it has made no progress for
// quietPeriod. It prints one line per outage, not one per attempt. It is a handler for
// the client's log.
type progress struct {
	note   func(text string)
	server string // its URL
	limit  string // how long the command retries: "for up to 30s"
	wait   string // how long it waits for a recipient

	mu      sync.Mutex  // guards the fields below
	timer   *time.Timer // of the current outage, or nil
	trouble error       // last failure; nil before the first one
}

// begin starts the clock before the first response.
func (p *progress) begin() { p.stalled(nil) }

// end stops the clock for good.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = func(string) {}
	p.stopLocked()
}

func (p *progress) stopLocked() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.trouble = nil
}

func (p *progress) stalled(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = err
	if p.timer == nil {
		p.timer = time.AfterFunc(quietPeriod, p.report)
	}
}

func (p *progress) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		return // it recovered just now
	}
	e, answered := errors.AsType[*inboxclient.Error](p.trouble)
	switch {
	case answered && e.Status == http.StatusTooManyRequests:
		p.note("the server limits requests or wrong passwords from this address: retrying " + p.limit)
	case errors.Is(p.trouble, inbox.ErrNoInbox):
		p.note("waiting " + p.wait + " for the recipient to open an inbox")
	case answered:
		p.note(fmt.Sprintf("retrying %s: %v", p.limit, p.trouble))
	default:
		p.note(fmt.Sprintf("trying to reach %s %s: %s", p.server, p.limit, cause(p.trouble)))
	}
}

// cause describes in a few words why the server cannot be reached.
func cause(err error) string {
	if err == nil {
		return "no response yet"
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Err
	}
	return strings.TrimPrefix(err.Error(), "cannot reach the server: ")
}

// Enabled, WithAttrs, WithGroup and Handle implement [slog.Handler].
func (*progress) Enabled(context.Context, slog.Level) bool { return true }
func (p *progress) WithAttrs([]slog.Attr) slog.Handler     { return p }
func (p *progress) WithGroup(string) slog.Handler          { return p }

// Handle handles a record of the client's log. A record with the attribute "after"
// reports a failure, and any other means that the client is in contact with the server.
func (p *progress) Handle(_ context.Context, r slog.Record) error {
	var trouble error
	for a := range r.Attrs {
		if err, ok := a.Value.Any().(error); ok && a.Key == "after" {
			trouble = err
		}
	}
	if trouble != nil {
		p.stalled(trouble)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopLocked()
	return nil
}
