package main

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"inbox/client"
)

const (
	iceTimeout = 5 * time.Second // for the server's list; calls also work without it
	settling   = 3 * time.Second // how long ICE may look for a better path before the report
)

// configuration returns the configuration of a connection: the STUN and TURN servers of
// the inbox server, and the one of -stun.
func (a *answerer) configuration(ctx context.Context) webrtc.Configuration {
	// Bundling everything means that a call needs only one port at a TURN server.
	config := webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle, ICEServers: a.stun}
	ctx, cancel := context.WithTimeout(ctx, iceTimeout)
	defer cancel()
	ice, err := a.inbox.ICE(ctx)
	if err != nil {
		a.log.Warn("cannot get ICE servers from the inbox server", "error", err)
	}
	for _, s := range ice.Servers {
		config.ICEServers = append(config.ICEServers[:len(config.ICEServers):len(config.ICEServers)],
			webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	return config
}

// report sends the outcome of the call to the server, if enabled by -outcomes. It waits for the
// path on which ICE settles.
func (c *call) report(ctx context.Context, connected bool) {
	if !c.outcomes {
		return
	}
	took := time.Since(c.answered)
	outcome := client.Outcome{Result: "failed"}
	if connected {
		outcome = pathOf(c.pc)
		select {
		case <-time.After(settling):
			outcome = pathOf(c.pc)
		case <-ctx.Done():
		}
	} else {
		outcome.Cause = c.cause()
	}
	outcome.Time = took
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	if err := c.inbox.Report(ctx, outcome); err != nil {
		c.log.Debug("cannot report an outcome", "error", err)
	}
}

// pathOf describes the path of a connection.
func pathOf(pc *webrtc.PeerConnection) client.Outcome {
	outcome := client.Outcome{Result: "connected"}
	pair, ok := pc.SCTP().Transport().ICETransport().GetSelectedCandidatePairStats()
	if !ok {
		return outcome
	}
	stats := pc.GetStats()
	local, _ := stats[pair.LocalCandidateID].(webrtc.ICECandidateStats)
	remote, _ := stats[pair.RemoteCandidateID].(webrtc.ICECandidateStats)
	outcome.Path, outcome.Transport = "direct", local.Protocol
	if local.CandidateType == webrtc.ICECandidateTypeRelay {
		outcome.Path, outcome.Transport = "relay", local.RelayProtocol
		return outcome // the relay's address is not one of this side
	}
	if remote.CandidateType == webrtc.ICECandidateTypeRelay {
		outcome.Path = "relay"
	}
	outcome.Transport = strings.TrimRight(outcome.Transport, "46") // udp4 and the like
	if ip, err := netip.ParseAddr(local.IP); err == nil {
		outcome.Family = "ipv4"
		if ip.Is6() && !ip.Is4In6() {
			outcome.Family = "ipv6"
		}
	}
	return outcome
}

// cause returns why there is no path, judging by the candidates of both sides.
func (c *call) cause() string {
	turn := false
	for _, s := range c.config.ICEServers {
		for _, url := range s.URLs {
			turn = turn || strings.HasPrefix(url, "turn")
		}
	}
	switch {
	case !c.kinds["local"]:
		return "no-candidates"
	case c.kinds["local relay"] && c.kinds["remote relay"]:
		return "relay-failed"
	case c.kinds["local relay"]:
		return "peer-no-relay"
	case turn:
		return "relay-unreachable"
	}
	return "no-relay"
}

// note records which kinds of candidates a side has.
func (c *call) note(side, candidate string) {
	if candidate == "" {
		return
	}
	c.kinds[side] = true
	if strings.Contains(candidate, " typ relay") {
		c.kinds[side+" relay"] = true
	}
}
