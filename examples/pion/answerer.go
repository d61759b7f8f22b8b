package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/pion/webrtc/v4"

	"inbox/client"
)

// Bounds of what strangers can make us keep.
const (
	maxCalls    = 100
	maxOver     = 1000 // calls that are over, and remembered
	maxSignals  = 100  // that one call has not handled yet
	maxRefusals = 100  // that are on their way
)

// answerer answers whoever calls.
type answerer struct {
	inbox    *client.Client
	api      *webrtc.API
	stun     []webrtc.ICEServer // beside those of the inbox server
	outcomes bool               // report how calls went
	log      *slog.Logger

	running  sync.WaitGroup
	mu       sync.Mutex // guards what follows
	calls    map[name]*call
	over     map[name]bool
	refusals int
}

// name is of a call. Nobody else can meddle with a session that they guess.
type name struct{ peer, session string }

// run answers until ctx ends, or nothing can come any more.
func (a *answerer) run(ctx context.Context) (err error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer a.running.Wait()
	defer hangUp()
	a.calls, a.over = make(map[name]*call), make(map[name]bool)
	for m, err := range a.inbox.All(ctx) {
		switch s, ok := parse(m.Body); {
		case err != nil && ctx.Err() == nil:
			// The server is away, or signals may have been missed: callers say again
			// what was not answered. If it is for good, this was the last round.
			a.log.Warn("receiving", "error", err)
		case err != nil:
		case !ok:
			a.log.Warn("a message is not about a call")
		default:
			a.hear(ctx, name{m.From, s.Session}, s)
		}
	}
	_, err = a.inbox.Receive(ctx) // says again what ended it
	return err
}

// hear gives a signal to its call, or begins one.
func (a *answerer) hear(ctx context.Context, who name, s Signal) {
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
		c.log.Warn("a signal is dropped: there are too many")
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

// refuseLocked says that there is no such call. Those who cannot be told for now
// say it again.
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
			a.log.Warn("a refusal is not sent", "error", err)
		}
	})
}
