package main

import (
	"fmt"
	"strings"
)

// webTorrent returns clients of WebTorrent's tracker. Each announce has as many offers as
// there are other peers.
func (c *topicsCommand) webTorrent() topicClients {
	var offers []string
	for i := range c.Offers {
		offers = append(offers, fmt.Sprintf(`{"offer":{"type":"offer","sdp":"%s"},"offer_id":"%020d"}`, strings.Repeat("x", 5*c.Body), i))
	}
	return topicClients{
		name: "WebTorrent", against: "bittorrent-tracker's server", clients: c.Offers + 1,
		theirs:   func(e *env) (*process, error) { return e.node("web/topics", c.Tracker) },
		inFlight: []int{1},
		open:     func(conn *conn, i int) (*socket, error) { return openTracker(conn, "swarm", i) },
		frame:    trackerFrame("swarm", 0, fmt.Sprintf(`,"numwant":%d,"offers":[%s]`, c.Offers, strings.Join(offers, ","))),
		part:     `"info_hash":`, copies: c.Offers,
		what: "an offer that the tracker passes on", note: fmt.Sprintf("%s in each announce, %d bytes", plural(c.Offers, "offer"), 5*c.Body),
		idle: func(conn *conn, prefix string, i int) error {
			_, err := openTracker(conn, prefix, i)
			return err
		},
		memory: "an idle peer of the tracker", each: "in one swarm",
	}
}

// trackerFrame returns an announce of a peer. more begins with a comma.
func trackerFrame(swarm string, peer int, more string) []byte {
	return fmt.Appendf(nil, `{"action":"announce","info_hash":"%-20s","peer_id":"%020d"%s}`, swarm, peer, more)
}

// openTracker opens a client's socket and announces its peer in a swarm.
func openTracker(c *conn, swarm string, peer int) (*socket, error) {
	s, err := upgrade(c, upgradeRequest("/announce", ""))
	if err != nil {
		return nil, err
	}
	if err := s.send(trackerFrame(swarm, peer, `,"left":1,"offers":[]`)); err != nil {
		return nil, err
	}
	answer, err := s.next()
	if err == nil && !strings.Contains(string(answer), `"incomplete":`) {
		err = fmt.Errorf("a client of the tracker: %.200s", answer)
	}
	return s, err
}
