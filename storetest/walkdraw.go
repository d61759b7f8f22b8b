package storetest

import (
	"pgregory.net/rapid"

	"inbox"
)

// What the steps draw from.
var (
	drawID     = rapid.SampledFrom([]string{"alice", "alice", "bob", "carol"})
	drawRight  = rapid.SampledFrom([]bool{true, true, true, true, true, true, false})
	drawSeldom = rapid.SampledFrom([]bool{false, false, true})
	drawBody   = rapid.SampledFrom([]string{"", "a", "b", "cc", "dddd", "eeeeeeee"})
	drawKey    = rapid.SampledFrom([]string{"j", "k"})
	drawLimit  = rapid.SampledFrom([]int{0, 1, 2, all})
	drawCursor = rapid.SampledFrom([]string{"start", "start", "known", "newest", "any", "future"})
	drawAhead  = rapid.Uint64Range(1, 3)
)

// drawPeer mostly returns the same one, but an inbox that is gone may be opened
// by another.
func drawPeer(t *rapid.T, id string) inbox.Peer {
	if drawRight.Draw(t, "right password") {
		return peer(id)
	}
	return stranger(id)
}

// cursor draws one with the model's lives.
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
