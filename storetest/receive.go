package storetest

import (
	"bytes"
	"fmt"
	"slices"

	"inbox"
)

var receiveCases = []testCase{
	{name: "the first look creates the inbox", run: func(h *harness) {
		h.wantAlive("alice", false)
		b := h.look("alice", start, all)
		h.wantBodies(b)
		if b.Cursor.Life == 0 || b.Cursor.Seq != 0 || b.Reset {
			h.Errorf("got %+v, want an empty batch at the start of a life", b)
		}
		h.wantAlive("alice", true)
	}},

	{name: "every batch states the TTL of the inbox", run: func(h *harness) {
		for range 3 {
			if b := h.look("alice", start, all); b.TTL != h.ttl {
				h.Errorf("the batch has the TTL %v, want %v", b.TTL, h.ttl)
			}
			h.send("bob", "alice", "hello")
		}
	}},

	{name: "a wrong password is ErrUnauthorized and returns nothing", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "hello")
		b := h.look("alice", start, all)
		for _, after := range []inbox.Cursor{start, b.Cursor, plus(b.Cursor, 1), {Life: 7, Seq: 7}} {
			got, err := h.tryLook(stranger("alice"), after, all)
			h.want(err, inbox.ErrUnauthorized)
			if len(got.Messages) > 0 || got.Cursor != start || got.Reset {
				h.Errorf("a stranger got %+v", got)
			}
		}
		h.wantBodies(h.look("alice", start, all), "hello")
	}},

	{name: "a message stays until it is acknowledged", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		first := h.look("alice", start, all)
		for range 5 {
			b := h.look("alice", start, all)
			h.wantBodies(b, "1", "2", "3")
			if b.Cursor != first.Cursor {
				h.Errorf("the cursor moved from %v to %v", first.Cursor, b.Cursor)
			}
		}
	}},

	{name: "a batch contains the oldest messages, at most the limit", run: func(h *harness) {
		h.open("alice")
		var bodies []string
		for i := range 10 {
			bodies = append(bodies, fmt.Sprint(i))
		}
		h.send("bob", "alice", bodies...)
		for limit := range 12 {
			h.wantBodies(h.look("alice", start, limit), bodies[:min(limit, 10)]...)
		}
		rest := h.look("alice", h.look("alice", start, 4).Cursor, 3)
		h.wantBodies(rest, "4", "5", "6")
	}},

	{name: "a batch has the cursor of its last message, or the acknowledged position if it is empty", run: func(h *harness) {
		opened := h.open("alice")
		wantCursor := func(b inbox.Batch, seq uint64) {
			h.Helper()
			if want := (inbox.Cursor{Life: opened.Life, Seq: seq}); b.Cursor != want {
				h.Errorf("the batch has the cursor %v, want %v", b.Cursor, want)
			}
		}
		h.send("bob", "alice", "1", "2", "3")
		wantCursor(h.look("alice", start, 0), 0)
		wantCursor(h.look("alice", start, 2), 2)
		wantCursor(h.look("alice", start, all), 3)
		wantCursor(h.look("alice", plus(opened, 2), 0), 2)
		wantCursor(h.look("alice", start, 0), 2)
		wantCursor(h.look("alice", start, all), 3)
		wantCursor(h.look("alice", plus(opened, 3), all), 3)
		wantCursor(h.look("alice", start, all), 3)
		// The cursor of an empty batch can be used as a position.
		h.wantBodies(h.look("alice", h.look("alice", start, 0).Cursor, all))
		h.send("bob", "alice", "4")
		wantCursor(h.look("alice", start, 0), 3)
		wantCursor(h.look("alice", start, all), 4)
	}},

	{name: "a batch never changes", run: func(h *harness) {
		position := h.open("alice")
		var batches, copies []inbox.Batch
		for i := range 60 {
			h.send("bob", "alice", fmt.Sprintf("message %d", i))
			b := h.look("alice", start, 1+i%5)
			batches, copies = append(batches, b), append(copies, clone(b))
			if i%3 == 2 {
				position = h.look("alice", plus(position, 2), 0).Cursor
			}
		}
		h.close("alice")
		for i := range batches {
			if !equal(batches[i], copies[i]) {
				h.Fatalf("batch %d was %+v and became %+v", i, copies[i], batches[i])
			}
		}
	}},

	{name: "appending to a batch does not change the inbox", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		for limit := range 4 {
			_ = append(h.look("alice", start, limit).Messages, inbox.Message{Body: []byte("foreign")})
			h.wantBodies(h.look("alice", start, all), "1", "2", "3")
		}
	}},

	{name: "inboxes have distinct lives", run: func(h *harness) {
		seen := map[uint64]string{}
		for i := range 200 {
			id := fmt.Sprintf("peer %d", i)
			life := h.open(id).Life
			if other, ok := seen[life]; ok || life == 0 {
				h.Fatalf("%q and %q have the same life %d", id, other, life)
			}
			seen[life] = id
		}
	}},
}

func clone(b inbox.Batch) inbox.Batch {
	b.Messages = slices.Clone(b.Messages)
	for i := range b.Messages {
		b.Messages[i].Body = bytes.Clone(b.Messages[i].Body)
	}
	return b
}

func equal(a, b inbox.Batch) bool {
	return a.Cursor == b.Cursor && a.Reset == b.Reset && a.TTL == b.TTL &&
		slices.EqualFunc(a.Messages, b.Messages, func(m, n inbox.Message) bool {
			return m.Cursor == n.Cursor && m.From == n.From && m.Time.Equal(n.Time) && bytes.Equal(m.Body, n.Body)
		})
}
