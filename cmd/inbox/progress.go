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

// quietFor is how long a command of a peer is silent while it gets nowhere. Most
// restarts of a server are over by then.
const quietFor = 2 * time.Second

// progress tells the person or the log behind standard error what a command is doing
// once it has got nowhere for a while: one line for each outage, not one for each
// attempt. It follows the client's log.
type progress struct {
	note   func(text string)
	server string // its URL
	limit  string // how long the command tries: "for up to 30s"
	wait   string // and how long it waits for a recipient

	mu      sync.Mutex  // guards what follows
	timer   *time.Timer // of the outage, while there is one
	trouble error       // the last failure; nil before the first one
}

// begin starts the clock: no server has answered yet.
func (p *progress) begin() { p.gotNowhere(nil) }

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

func (p *progress) gotNowhere(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = err
	if p.timer == nil {
		p.timer = time.AfterFunc(quietFor, p.tell)
	}
}

func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil {
		return // it went on at the last moment
	}
	e, answered := errors.AsType[*inboxclient.Error](p.trouble)
	switch {
	case answered && e.Status == http.StatusTooManyRequests:
		p.note("the server limits how often it is asked, or wrong passwords are tried, from here: waiting, and retrying " + p.limit)
	case errors.Is(p.trouble, inbox.ErrNoInbox):
		p.note("waiting " + p.wait + " until the recipient opens an inbox")
	case answered:
		p.note(fmt.Sprintf("retrying %s: %v", p.limit, p.trouble))
	default:
		p.note(fmt.Sprintf("trying to reach %s %s: %s", p.server, p.limit, cause(p.trouble)))
	}
}

// cause is what fits on a line of why a server is not reached.
func cause(err error) string {
	if err == nil {
		return "no answer yet"
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Err
	}
	return strings.TrimPrefix(err.Error(), "cannot reach the server: ")
}

// Enabled, Handle, WithAttrs and WithGroup make it a handler of the client's log.
func (*progress) Enabled(context.Context, slog.Level) bool { return true }
func (p *progress) WithAttrs([]slog.Attr) slog.Handler     { return p }
func (p *progress) WithGroup(string) slog.Handler          { return p }

// Handle reads records of two kinds: those with the attribute after tell of a failure,
// and all others of contact to the server.
func (p *progress) Handle(_ context.Context, r slog.Record) error {
	var trouble error
	for a := range r.Attrs {
		if err, ok := a.Value.Any().(error); ok && a.Key == "after" {
			trouble = err
		}
	}
	if trouble != nil {
		p.gotNowhere(trouble)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopLocked()
	return nil
}
