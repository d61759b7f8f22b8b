package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/pion/webrtc/v4"

	"inbox/client"
)

// Limits on what strangers can make this program store.
const (
	maxCalls    = 100
	maxOver     = 1000 // ended calls that are remembered
	maxSignals  = 100  // unprocessed signals of a call
	maxRefusals = 100  // refusals being sent
)

// answerer answers every call.
type answerer struct {
	inbox    *client.Client
	api      *webrtc.API
	stun     []webrtc.ICEServer // in addition to the inbox server's
	outcomes bool               // report how calls went
	log      *slog.Logger

	running  sync.WaitGroup
	mu       sync.Mutex // guards the fields below
	calls    map[name]*call
	over     map[name]bool
	refusals int
}

// name identifies a call. It includes the peer, so a peer who guesses a session cannot
// interfere.
type name struct{ peer, session string }

// run answers calls until ctx ends or receiving fails for good.
func (a *answerer) run(ctx context.Context) (err error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer a.running.Wait()
	defer hangUp()
	a.calls, a.over = make(map[name]*call), make(map[name]bool)
	for m, err := range a.inbox.All(ctx) {
		switch s, ok := parse(m.Body); {
		case err != nil && ctx.Err() == nil:
			// The server is away, or signals may have been missed. Callers repeat signals
			// that got no answer. After a final error the loop ends.
			a.log.Warn("cannot receive", "error", err)
		case err != nil:
		case !ok:
			a.log.Warn("ignoring a message that is not a signal")
		default:
			a.handle(ctx, name{m.From, s.Session}, s)
		}
	}
	_, err = a.inbox.Receive(ctx) // returns the error that ended the loop
	return err
}

// handle passes a signal to its call, or starts a call.
func (a *answerer) handle(ctx context.Context, who name, s Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.calls[who]
	if c == nil {
		switch {
		case s.Type != "offer" && s.Type != "answer":
			return
		case a.over[who] || s.Type == "answer" || s.N != 1:
			a.refuseLocked(ctx, who, "ended", "")
			return
		case len(a.calls) >= maxCalls:
			a.refuseLocked(ctx, who, "rejected", "busy")
			return
		}
		c = &call{
			answerer: a, name: who, log: a.log.With("session", s.Session),
			signals: make(chan Signal, maxSignals), changed: make(chan struct{}, 1),
			found: make(chan webrtc.ICECandidateInit, maxSignals), kinds: make(map[string]bool),
		}
		a.calls[who] = c
		a.running.Go(func() {
			defer a.forget(who)
			c.run(ctx)
		})
	}
	select {
	case c.signals <- s:
	default:
		c.log.Warn("dropping a signal: too many are waiting")
	}
}

func (a *answerer) forget(who name) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.calls, who)
	if len(a.over) >= maxOver {
		clear(a.over)
	}
	a.over[who] = true
}

// refuseLocked answers a caller that there is no such call. If too many refusals are being
// sent, it does nothing, since the caller repeats its signal.
func (a *answerer) refuseLocked(ctx context.Context, who name, why, reason string) {
	if a.refusals >= maxRefusals {
		return
	}
	a.refusals++
	a.running.Go(func() {
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.refusals--
		}()
		s := Signal{Session: who.session, Type: "bye", Why: why, Reason: reason}
		if err := a.inbox.Send(ctx, who.peer, s.encode()); err != nil {
			a.log.Warn("cannot send a refusal", "error", err)
		}
	})
}
