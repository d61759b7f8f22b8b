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
	connecting = 30 * time.Second // time limit for connecting
	lost       = time.Minute      // how long a connection may be interrupted
	byeTimeout = 5 * time.Second  // time limit for the last signal

	maxChannels = 16 // per call, since each may buffer data
)

// call is an answered call. Its own goroutine does everything except receiving.
type call struct {
	*answerer
	name
	log     *slog.Logger
	signals chan Signal
	changed chan struct{} // signals a change of the connection's state
	found   chan webrtc.ICECandidateInit

	pc       *webrtc.PeerConnection
	config   webrtc.Configuration
	offer    int // number of the last offer
	answer   Signal
	answered time.Time                 // when the first answer was sent
	early    []webrtc.ICECandidateInit // candidates that arrived before the offer
	kinds    map[string]bool           // kinds of candidates of each side; see note
}

func (c *call) run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	c.config = c.configuration(ctx)
	pc, err := c.api.NewPeerConnection(c.config)
	if err != nil {
		c.log.Error("cannot create a connection", "error", err)
		return
	}
	c.pc = pc
	// Close must come last, after everything that depends on ctx has ended.
	defer func() { end(); pc.Close() }()
	pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	})
	pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		init := webrtc.ICECandidateInit{} // an empty one marks the end
		if candidate != nil {
			init = candidate.ToJSON()
		}
		select { // do not block: SetLocalDescription may wait for this function
		case c.found <- init:
		default:
			c.log.Warn("dropping a candidate: too many are waiting")
		}
	})
	var channels atomic.Int32
	pc.OnDataChannel(func(channel *webrtc.DataChannel) {
		if channels.Add(1) > maxChannels {
			channels.Add(-1)
			channel.OnOpen(func() { channel.Close() }) // closing earlier would not notify the other side
			return
		}
		channel.OnClose(func() { channels.Add(-1) })
		echo(ctx, c.log, channel)
	})

	c.log.Info("answering")
	bye := c.loop(ctx)
	c.log.Info("call ended", "why", bye)
	if bye != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
		defer cancel()
		c.send(ctx, Signal{Type: "bye", Why: bye})
	}
}

// loop runs the call until it ends. It returns the reason to send to the other side, if
// any.
func (c *call) loop(ctx context.Context) (bye string) {
	timeout := time.NewTimer(connecting)
	defer timeout.Stop()
	up, reported := false, false
	for {
		select {
		case s := <-c.signals:
			if s.Type == "bye" {
				return ""
			}
			if err := c.handle(ctx, s); err != nil {
				c.log.Warn("cannot use a signal", "type", s.Type, "error", err)
			}
		case candidate := <-c.found:
			// Candidates are sent after the answer that they belong to.
			all := []webrtc.ICECandidateInit{candidate}
			for len(c.found) > 0 {
				all = append(all, <-c.found)
			}
			for _, candidate := range all {
				c.note("local", candidate.Candidate)
			}
			c.send(ctx, Signal{Type: "candidates", Candidates: all})
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
				if up { // the caller may restore it with another offer
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

func (c *call) handle(ctx context.Context, s Signal) error {
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
		case s.N == c.offer: // the caller did not get the answer
			c.send(ctx, c.answer)
			return nil
		}
		return c.accept(ctx, s)
	}
	return nil
}

// accept answers an offer: the first one, or a later one that changes something.
func (c *call) accept(ctx context.Context, s Signal) error {
	if before := c.pc.RemoteDescription(); before != nil && fragment(before.SDP) != fragment(s.SDP) {
		// This is an ICE restart. The original TURN credentials may have expired.
		fresh := c.configuration(ctx)
		c.config.ICEServers = fresh.ICEServers
		if err := c.pc.SetConfiguration(webrtc.Configuration{ICEServers: fresh.ICEServers}); err != nil {
			c.log.Warn("cannot use the new ICE servers", "error", err)
		}
	}
	c.note("remote", s.SDP)
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: s.SDP}); err != nil {
		return err
	}
	for _, candidate := range c.early {
		if err := c.add(candidate); err != nil {
			c.log.Warn("cannot use a candidate", "error", err)
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
	c.send(ctx, c.answer)
	return nil
}

// fragment returns the ICE user name in a description, which changes with an ICE restart.
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

// send sends a signal. The client retries temporary failures and keeps the order.
func (c *call) send(ctx context.Context, s Signal) {
	s.Session = c.session
	if err := c.inbox.Send(ctx, c.peer, s.encode()); err != nil && ctx.Err() == nil {
		c.log.Warn("cannot send a signal", "type", s.Type, "error", err)
	}
}

// echo sends back every message. It stops reading while too much data is unsent.
func echo(ctx context.Context, log *slog.Logger, channel *webrtc.DataChannel) {
	const high, low = 1 << 20, 256 << 10
	room := make(chan struct{}, 1)
	channel.SetBufferedAmountLowThreshold(low)
	channel.OnBufferedAmountLow(func() {
		select {
		case room <- struct{}{}:
		default:
		}
	})
	channel.OnMessage(func(m webrtc.DataChannelMessage) {
		for channel.BufferedAmount() > high {
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
			log.Warn("cannot send an echo", "error", err)
		}
	})
}
