package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"inbox"
)

var sendCases = []testCase{
	{name: "a message arrives unchanged", run: func(h *harness) {
		h.open("bob")
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		bodies := [][]byte{
			[]byte("hello"), nil, {}, {0}, every, []byte("\xff\xfe not UTF-8"),
			[]byte(`{"type":"offer"}`), []byte("a\r\nb\n"), bytes.Repeat([]byte("x"), 64<<10),
		}
		for i, body := range bodies {
			before := time.Now()
			_, err := h.store().Send(h.Context(), peer("alice"), "bob", inbox.Draft{Body: body})
			h.want(err, nil)
			after := time.Now()

			m := h.look("bob", start, all).Messages[i]
			if !bytes.Equal(m.Body, body) {
				h.Errorf("message %d has the body %.40q, want %.40q", i, m.Body, body)
			}
			if m.From != "alice" {
				h.Errorf("message %d is from %q", i, m.From)
			}
			if m.Time.Location() != time.UTC {
				h.Errorf("message %d has a time in %v, want UTC", i, m.Time.Location())
			}
			// A store may round times to milliseconds.
			if m.Time.Before(before.Add(-time.Millisecond)) || m.Time.After(after.Add(time.Millisecond)) {
				h.Errorf("message %d has the time %v, sent between %v and %v", i, m.Time, before, after)
			}
		}
	}},

	{name: "the first send creates the inbox of the sender", run: func(h *harness) {
		h.open("bob")
		h.send("alice", "bob", "hello")
		h.wantAlive("alice", true)
		_, err := h.trySend(stranger("alice"), "bob", "", "hello")
		h.want(err, inbox.ErrUnauthorized)
		h.wantBodies(h.look("bob", start, all), "hello")
	}},

	{name: "a recipient without an inbox is ErrNoInbox", run: func(h *harness) {
		_, err := h.trySend(peer("alice"), "bob", "", "hello")
		h.want(err, inbox.ErrNoInbox)
		h.wantAlive("bob", false)
		h.wantAlive("alice", true)
		h.wantBodies(h.look("bob", start, all))
	}},

	{name: "the sender is checked before the recipient is looked up", run: func(h *harness) {
		h.open("alice")
		h.open("bob")
		for _, to := range []string{"nobody", "bob", "alice"} {
			_, err := h.trySend(stranger("alice"), to, "", "hello")
			h.want(err, inbox.ErrUnauthorized)
		}
		h.wantBodies(h.look("bob", start, all))
		h.wantBodies(h.look("alice", start, all))
		h.wantAlive("nobody", false)
	}},

	{name: "a peer sends to itself", run: func(h *harness) {
		h.send("alice", "alice", "note", "another")
		h.wantBodies(h.look("alice", start, all), "note", "another")
	}},

	{name: "the messages of each sender keep their order", run: func(h *harness) {
		h.open("bob")
		var want []string
		for i := range 90 {
			sender := fmt.Sprintf("sender %d", i%7)
			h.send(sender, "bob", fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
		}
		h.wantBodies(h.look("bob", start, all), want...)
	}},

	{name: "a message reaches only its recipient", run: func(h *harness) {
		ids := strangeIDs()
		for _, id := range ids {
			h.open(id)
		}
		for _, id := range ids {
			h.send("alice", id, "for "+id)
		}
		for _, id := range ids {
			h.wantBodies(h.look(id, start, all), "for "+id)
		}
		h.wantBodies(h.look("alice", start, all))
	}},

	{name: "a message carries the exact id of its sender", run: func(h *harness) {
		ids := strangeIDs()
		h.open("bob")
		for _, id := range ids {
			h.send(id, "bob", "from "+id)
		}
		for i, m := range h.look("bob", start, all).Messages {
			if m.From != ids[i] || string(m.Body) != "from "+ids[i] {
				h.Errorf("message %d is from %q, want %q", i, m.From, ids[i])
			}
		}
	}},

	{name: "sequence numbers grow by one and are never reused", run: func(h *harness) {
		life := h.open("bob")
		want := uint64(1)
		for round := range 20 {
			for range round % 4 {
				h.send("alice", "bob", "hello")
			}
			b := h.look("bob", start, all)
			for _, m := range b.Messages {
				if m.Cursor != (inbox.Cursor{Life: life.Life, Seq: want}) {
					h.Fatalf("got the cursor %v, want number %d of life %d", m.Cursor, want, life.Life)
				}
				want++
			}
			h.wantBodies(h.look("bob", b.Cursor, all))
		}
	}},
}

// strangeIDs returns ids that are easily confused or have a special meaning somewhere.
func strangeIDs() []string {
	ids := []string{
		"a", "A", "b", "a b", "a  b", "{a}", "{a}b", "{b}a", "a{", "*", "a*", "?", "[a]", "a/b", "a.b", "..",
		"ä", "a\u0308", "日本語", "🦊", "%61", `a"b`, `a\b`, "0", "-1", "null", "a,b", "a;b", "a|b", "#a", "$a",
		strings.Repeat("x", inbox.MaxID), strings.Repeat("x", inbox.MaxID-1), strings.Repeat("x", inbox.MaxID-1) + "y",
	}
	for _, id := range ids {
		if err := inbox.CheckID(id); err != nil {
			panic(fmt.Sprintf("%q: %v", id, err))
		}
	}
	return slices.Clip(ids)
}
