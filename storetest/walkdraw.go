package storetest

import (
	"net/netip"

	"pgregory.net/rapid"

	"inbox"
)

// Generators for the steps.
var (
	drawID     = rapid.SampledFrom([]string{"alice", "alice", "bob", "carol"})
	drawRight  = rapid.SampledFrom([]bool{true, true, true, true, true, true, false})
	drawRarely = rapid.SampledFrom([]bool{false, false, true})
	drawBody   = rapid.SampledFrom([]string{"", "a", "b", "cc", "dddd", "eeeeeeee"})
	drawKey    = rapid.SampledFrom([]string{"j", "k"})
	drawLimit  = rapid.SampledFrom([]int{0, 1, 2, all})
	drawCursor = rapid.SampledFrom([]string{"start", "start", "known", "newest", "any", "future"})
	drawAhead  = rapid.Uint64Range(1, 3)
)

// clients contains the addresses of peers: more than an inbox remembers of its owner.
var clients = func() (all []*netip.Addr) {
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::", "2001:db8:0:1::"} {
		client := netip.MustParseAddr(a)
		all = append(all, &client)
	}
	return all
}()

// drawFrom gives a peer an address, or none, and may mark it as admitted before.
func drawFrom(t *rapid.T, p inbox.Peer) inbox.Peer {
	if drawRarely.Draw(t, "from an address") {
		p.Client = rapid.SampledFrom(clients).Draw(t, "address")
		p.Admitted = drawRarely.Draw(t, "admitted")
	}
	return p
}

// drawPeer returns the usual peer, or sometimes another one with the same id, which may
// open the inbox if it is gone.
func drawPeer(t *rapid.T, id string) inbox.Peer {
	p := stranger(id)
	if drawRight.Draw(t, "right password") {
		p = peer(id)
	}
	return drawFrom(t, p)
}

// cursor draws a cursor with the model's lives.
func (w *walker) cursor(t *rapid.T, id string) inbox.Cursor {
	kind := drawCursor.Draw(t, "kind of cursor")
	if kind == "known" && len(w.cursors) > 0 {
		return rapid.SampledFrom(w.cursors).Draw(t, "cursor")
	}
	in := w.model.inboxes[id]
	if in == nil || w.lives[in.life] == 0 {
		return start // nobody can have a cursor of this life yet
	}
	switch kind {
	case "newest":
		return inbox.Cursor{Life: in.life, Seq: in.last}
	case "any":
		return inbox.Cursor{Life: in.life, Seq: rapid.Uint64Range(0, in.last).Draw(t, "number")}
	case "future":
		return inbox.Cursor{Life: in.life, Seq: in.last + drawAhead.Draw(t, "ahead")}
	}
	return start
}

type walkSend struct {
	from          inbox.Peer
	to, key, body string
}

func (w *walker) drawSend(t *rapid.T, key string) walkSend {
	s := walkSend{drawPeer(t, drawID.Draw(t, "from")), drawID.Draw(t, "to"), key, drawBody.Draw(t, "body")}
	if key != "" {
		w.sends = append(w.sends, s)
	}
	return s
}

// sendAgain repeats a send with a key.
func (w *walker) sendAgain(t *rapid.T) {
	if n := len(w.sends); n > 0 {
		w.send(t, w.sends[rapid.IntRange(max(0, n-4), n-1).Draw(t, "send")])
	}
}
