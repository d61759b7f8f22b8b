package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"inbox"
)

// linearizable lets several clients perform random operations on two inboxes
// concurrently. It then checks that the results match the model in some order that
// respects real time.
func linearizable(h *harness) {
	rounds := 5
	if h.cfg.Bubble { // in a bubble it costs nothing
		rounds = 15
	}
	for range rounds {
		const clients, each = 6, 25
		var clock atomic.Int64 // orders calls and returns
		histories := make([][]porcupine.Operation, clients)
		ids := []string{fmt.Sprint("inbox ", rand.Uint64()), fmt.Sprint("inbox ", rand.Uint64())}
		for i := range clients { // so that sends do not open inboxes during the test
			h.open(fmt.Sprint("client ", i))
		}
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				c := linearClient{h: h, id: fmt.Sprint("client ", i), known: map[string][]inbox.Cursor{}}
				for n := range each {
					in := c.draw(ids[rand.IntN(len(ids))], n)
					call := clock.Add(1)
					out := c.do(in)
					histories[i] = append(histories[i], porcupine.Operation{
						ClientId: i, Input: in, Call: call, Output: out, Return: clock.Add(1),
					})
				}
			})
		}
		all.Wait()
		switch porcupine.CheckOperationsTimeout(linearModel(), slices.Concat(histories...), 20*time.Second) {
		case porcupine.Illegal:
			for _, op := range slices.Concat(histories...) {
				h.Logf("%d to %d, client %d: %+v: %+v", op.Call, op.Return, op.ClientId, op.Input, op.Output)
			}
			h.Fatalf("this history is not linearizable")
		case porcupine.Unknown:
			h.Logf("gave up before the history was proven linearizable or not")
		case porcupine.Ok:
		}
	}
}

type linearInput struct {
	what  string // "send", "receive" or "close"
	id    string
	from  string
	key   string
	body  string
	after inbox.Cursor
	limit int
}

type linearOutput struct {
	err      error
	replayed bool
	cursor   inbox.Cursor
	reset    bool
	bodies   []string
}

// linearLimit is the capacity of the inboxes, small enough to be reached.
const linearLimit = 6

type linearClient struct {
	h     *harness
	id    string
	known map[string][]inbox.Cursor // cursors it was given, per inbox
}

func (c *linearClient) draw(id string, n int) linearInput {
	in := linearInput{what: "send", id: id, from: c.id, body: fmt.Sprint(c.id, " ", n)}
	switch rand.IntN(16) {
	case 0:
		in.what = "close"
	case 1, 2, 3, 4, 5, 6:
		in.what, in.limit = "receive", rand.IntN(4)
		if known := c.known[id]; len(known) > 0 && rand.IntN(3) > 0 {
			in.after = known[rand.IntN(len(known))]
		}
	case 7, 8: // from a small set, so that some repeat
		in.key, in.body = fmt.Sprint(rand.IntN(2)), "the same"
	}
	return in
}

func (c *linearClient) do(in linearInput) (out linearOutput) {
	switch in.what {
	case "send":
		out.replayed, out.err = c.h.trySend(peer(in.from), in.id, in.key, in.body)
	case "close":
		out.err = c.h.tryClose(peer(in.id), 0)
	case "receive":
		b, err := c.h.tryLook(peer(in.id), in.after, in.limit)
		out.err, out.cursor, out.reset = err, b.Cursor, b.Reset
		for _, m := range b.Messages {
			out.bodies = append(out.bodies, string(m.Body))
		}
		if err == nil {
			c.known[in.id] = append(c.known[in.id], b.Cursor)
		}
	}
	return out
}

// linearInbox is the state of one inbox. It is immutable. Lives have the random names
// that the store gave them.
type linearInbox struct {
	life, last uint64
	bodies     []string
	keys       []string
}

func linearModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linearInbox{} },
		// Inboxes are independent, so each has its own history.
		Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
			at := map[string]int{}
			for _, op := range all {
				id := op.Input.(linearInput).id
				if _, ok := at[id]; !ok {
					at[id] = len(parts)
					parts = append(parts, nil)
				}
				parts[at[id]] = append(parts[at[id]], op)
			}
			return parts
		},
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(linearInbox), input.(linearInput), output.(linearOutput)
			switch in.what {
			case "send":
				return s.send(in, out)
			case "receive":
				return s.receive(in, out)
			}
			return out.err == nil, linearInbox{}
		},
		Equal: func(a, b any) bool {
			s, t := a.(linearInbox), b.(linearInbox)
			return s.life == t.life && s.last == t.last && slices.Equal(s.bodies, t.bodies) && slices.Equal(s.keys, t.keys)
		},
	}
}

func (s linearInbox) send(in linearInput, out linearOutput) (bool, any) {
	key := in.from + " " + in.key
	switch {
	case s.life == 0:
		return errors.Is(out.err, inbox.ErrNoInbox), s
	case in.key != "" && slices.Contains(s.keys, key):
		return out.err == nil && out.replayed, s
	case len(s.bodies) >= linearLimit:
		return errors.Is(out.err, inbox.ErrFull), s
	}
	if in.key != "" {
		s.keys = append(slices.Clone(s.keys), key)
	}
	s.bodies = append(slices.Clone(s.bodies), in.body)
	s.last++
	return out.err == nil && !out.replayed, s
}

func (s linearInbox) receive(in linearInput, out linearOutput) (bool, any) {
	if in.after.Life != 0 && in.after.Life == s.life && in.after.Seq > s.last {
		return errors.Is(out.err, inbox.ErrBadCursor), s
	}
	if s.life == 0 {
		if out.err != nil || out.cursor.Life == 0 || out.cursor.Life == in.after.Life {
			return false, s // nobody can have known a life that begins now
		}
		s = linearInbox{life: out.cursor.Life}
	}
	reset := in.after.Life != 0 && in.after.Life != s.life
	if first := s.last - uint64(len(s.bodies)); !reset && in.after.Seq > first {
		s.bodies = s.bodies[in.after.Seq-first:]
	}
	n := min(in.limit, len(s.bodies))
	cursor := inbox.Cursor{Life: s.life, Seq: s.last - uint64(len(s.bodies)-n)}
	return out.err == nil && out.reset == reset && out.cursor == cursor && slices.Equal(out.bodies, s.bodies[:n]), s
}
