package main

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
)

const (
	connecting = 30 * time.Second // how long it may take
	lost       = time.Minute      // how long a connection that worked may be gone
	farewell   = 5 * time.Second  // for the last signal

	maxChannels = 16 // of one call, since each may have bytes unsent
)

// call is one that we answer. Its own goroutine does everything but receiving.
type call struct {
	*answerer
	name
	log     *slog.Logger
	signals chan Signal
	changed chan struct{} // the connection's state
	found   chan webrtc.ICECandidateInit

	pc       *webrtc.PeerConnection
	config   webrtc.Configuration
	offer    int // the number of the last one
	answer   Signal
	answered time.Time                 // for the first time
	early    []webrtc.ICECandidateInit // came before the offer
	kinds    map[string]bool           // of candidates that a side has: see note
}

func (c *call) run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	c.config = c.configuration(ctx)
	pc, err := c.api.NewPeerConnection(c.config)
	if err != nil {
		c.log.Error("no connection can be made", "error", err)
		return
	}
	c.pc = pc
	// Close is the last to be called, since what hangs on ctx ends first.
	defer func() { end(); pc.Close() }()
	pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	})
	pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		init := webrtc.ICECandidateInit{} // the last one is empty
		if candidate != nil {
			init = candidate.ToJSON()
		}
		select { // without waiting: SetLocalDescription may wait for this function
		case c.found <- init:
		default:
			c.log.Warn("a candidate is dropped: there are too many")
		}
	})
	var channels atomic.Int32
	pc.OnDataChannel(func(channel *webrtc.DataChannel) {
		if channels.Add(1) > maxChannels {
			channels.Add(-1)
			channel.OnOpen(func() { channel.Close() }) // before, nobody would be told
			return
		}
		channel.OnClose(func() { channels.Add(-1) })
		echo(ctx, c.log, channel)
	})

	c.log.Info("answering")
	bye := c.until(ctx)
	c.log.Info("over", "why", bye)
	if bye != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		c.say(ctx, Signal{Type: "bye", Why: bye})
	}
}

// until returns when the call is over, with what the other side is to be told.
func (c *call) until(ctx context.Context) (bye string) {
	timeout := time.NewTimer(connecting)
	defer timeout.Stop()
	up, reported := false, false
	for {
		select {
		case s := <-c.signals:
			if s.Type == "bye" {
				return ""
			}
			if err := c.hear(ctx, s); err != nil {
				c.log.Warn("a signal cannot be used", "type", s.Type, "error", err)
			}
		case candidate := <-c.found:
			// After the answer that they belong to, which was said where it was made.
			all := []webrtc.ICECandidateInit{candidate}
			for len(c.found) > 0 {
				all = append(all, <-c.found)
			}
			for _, candidate := range all {
				c.note("local", candidate.Candidate)
			}
			c.say(ctx, Signal{Type: "candidates", Candidates: all})
		case <-c.changed:
			switch state := c.pc.ConnectionState(); state {
			case webrtc.PeerConnectionStateConnected:
				c.log.Info("connected")
				timeout.Stop()
				up = true
				if !reported {
					reported = true
					c.running.Go(func() { c.report(ctx, true) })
				}
			case webrtc.PeerConnectionStateDisconnected, webrtc.PeerConnectionStateFailed:
				if up { // the caller may mend it, with another offer
					timeout.Reset(lost)
					up = false
				}
			case webrtc.PeerConnectionStateClosed:
				return "" // by the other side
			}
		case <-timeout.C:
			if !reported && !c.answered.IsZero() {
				c.report(ctx, false)
			}
			return "ice-failed"
		case <-ctx.Done():
			return "closed"
		}
	}
}

func (c *call) hear(ctx context.Context, s Signal) error {
	switch s.Type {
	case "candidates":
		for _, candidate := range s.Candidates {
			if err := c.add(candidate); err != nil {
				return err
			}
		}
	case "offer":
		switch {
		case s.N < c.offer:
			return nil
		case s.N == c.offer: // they have not heard the answer
			c.say(ctx, c.answer)
			return nil
		}
		return c.accept(ctx, s)
	}
	return nil
}

// accept answers an offer: the first, or a later one that changes something.
func (c *call) accept(ctx context.Context, s Signal) error {
	if before := c.pc.RemoteDescription(); before != nil && fragment(before.SDP) != fragment(s.SDP) {
		// ICE begins anew. The TURN credentials of the beginning may have expired.
		fresh := c.configuration(ctx)
		c.config.ICEServers = fresh.ICEServers
		if err := c.pc.SetConfiguration(webrtc.Configuration{ICEServers: fresh.ICEServers}); err != nil {
			c.log.Warn("fresh ICE servers cannot be used", "error", err)
		}
	}
	c.note("remote", s.SDP)
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: s.SDP}); err != nil {
		return err
	}
	for _, candidate := range c.early {
		if err := c.add(candidate); err != nil {
			c.log.Warn("a candidate cannot be used", "error", err)
		}
	}
	c.early = nil
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := c.pc.SetLocalDescription(answer); err != nil {
		return err
	}
	if c.answered.IsZero() {
		c.answered = time.Now()
	}
	c.offer, c.answer = s.N, Signal{Type: "answer", N: s.N, SDP: answer.SDP}
	c.say(ctx, c.answer)
	return nil
}

// fragment returns the user name of ICE in a description, which a restart changes.
func fragment(sdp string) string {
	_, after, _ := strings.Cut(sdp, "a=ice-ufrag:")
	name, _, _ := strings.Cut(after, "\r\n")
	return name
}

func (c *call) add(candidate webrtc.ICECandidateInit) error {
	c.note("remote", candidate.Candidate)
	if c.pc.RemoteDescription() == nil {
		if len(c.early) < maxSignals {
			c.early = append(c.early, candidate)
		}
		return nil
	}
	return c.pc.AddICECandidate(candidate)
}

// say sends a signal. The client tries again what may succeed later, and keeps the
// order.
func (c *call) say(ctx context.Context, s Signal) {
	s.Session = c.session
	if err := c.inbox.Send(ctx, c.peer, s.encode()); err != nil && ctx.Err() == nil {
		c.log.Warn("a signal is not sent", "type", s.Type, "error", err)
	}
}

// echo sends back what comes. It reads no more while too much is unsent.
func echo(ctx context.Context, log *slog.Logger, channel *webrtc.DataChannel) {
	const most, low = 1 << 20, 256 << 10
	room := make(chan struct{}, 1)
	channel.SetBufferedAmountLowThreshold(low)
	channel.OnBufferedAmountLow(func() {
		select {
		case room <- struct{}{}:
		default:
		}
	})
	channel.OnMessage(func(m webrtc.DataChannelMessage) {
		for channel.BufferedAmount() > most {
			select {
			case <-room:
			case <-ctx.Done():
				return
			}
		}
		send := channel.Send
		if m.IsString {
			send = func(data []byte) error { return channel.SendText(string(data)) }
		}
		if err := send(m.Data); err != nil {
			log.Warn("an echo is not sent", "error", err)
		}
	})
}
