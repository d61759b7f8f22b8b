package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"inbox"
)

// takeCases are for a store that takes.
var takeCases = []testCase{
	{name: "no look finds a message until the end", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		end := h.take("alice", 2)
		for _, limit := range []int{1, all} {
			b := h.ask("alice", start, limit)
			h.wantBodies(b)
			if b.Taken == nil {
				h.Errorf("the look was not told that a pop is under way")
			} else if ended(b) {
				h.Errorf("the look was told that the pop has ended")
			}
		}
		b := h.ask("alice", start, all)
		end(true)
		if !ended(b) {
			h.Errorf("the look was not told that the pop has ended")
		}
		h.wantBodies(h.ask("alice", start, all), "3")
	}},

	{name: "what was not delivered is back at its place", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		before := h.ask("alice", start, all)
		end := h.take("alice", 1)
		h.send("bob", "alice", "3")
		end(false)
		after := h.ask("alice", start, all)
		h.wantBodies(after, "1", "2", "3")
		if after.Messages[0].Cursor != before.Messages[0].Cursor || after.Taken != nil {
			h.Errorf("the first message has another place")
		}
	}},

	{name: "a look that acknowledges only is not held up", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1")
		end := h.take("alice", 1)
		if b := h.ask("alice", start, 0); b.Taken != nil {
			h.Errorf("it was told of a pop that hides nothing from it")
		}
		end(true)
	}},

	{name: "one pop at a time takes", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		first := h.ask("alice", start, 1)
		end := h.take("alice", 1)
		h.wantNothingTaken("alice", first, nil)
		end(true)
		h.take("alice", 1)(true)
		h.wantBodies(h.ask("alice", start, all))
	}},

	{name: "only messages that are all there are taken", run: func(h *harness) {
		h.open("alice")
		h.wantNothingTaken("alice", inbox.Batch{}, nil)
		h.send("bob", "alice", "1", "2")
		b := h.ask("alice", start, all)
		beyond := b
		beyond.Cursor.Seq++
		h.wantNothingTaken("alice", beyond, nil)
		h.ask("alice", b.Messages[0].Cursor, 0)
		h.wantNothingTaken("alice", b, nil)
		h.ask("alice", b.Cursor, 0)
		h.wantNothingTaken("alice", b, nil)
		h.close("alice")
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		h.wantNothingTaken("alice", b, nil)
	}},

	{name: "a receiver that was ended takes nothing", run: func(h *harness) {
		r := h.receiver("alice")
		r.look(start, all)
		h.send("bob", "alice", "1")
		b := r.look(start, all)
		h.receiver("alice").look(start, all)
		h.wantNothingTaken("alice", b, r.Waker)
		h.wantBodies(h.ask("alice", start, all), "1")
	}},

	{name: "a receiver that comes meanwhile does not find what was delivered", run: func(h *harness) {
		old := h.receiver("alice")
		old.look(start, all)
		h.send("bob", "alice", "1")
		end := h.takeFor(old.Waker, "alice", 1)
		r := h.receiver("alice")
		h.wantBodies(r.look(start, all))
		h.want(old.Err(), inbox.ErrReplaced)
		end(true)
		h.wantBodies(r.look(start, all))
	}},

	{name: "the end wakes a receiver that has looked", run: func(h *harness) {
		for _, delivered := range []bool{true, false} {
			id := fmt.Sprint("alice ", delivered)
			h.open(id)
			h.send("bob", id, "1", "2")
			end := h.take(id, 1)
			w := h.receiver(id).wait(start, all, h.long())
			h.until(time.Now(), h.ttl/10)
			at := time.Now()
			end(delivered)
			o := w.batch()
			h.wantInstant(at)
			if delivered {
				h.wantBodies(o.Batch, "2")
			} else {
				h.wantBodies(o.Batch, "1", "2")
			}
		}
	}},

	{name: "what is taken makes room", limits: inbox.Limits{Messages: 2, Bytes: 100}, run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		end := h.take("alice", 1)
		h.send("bob", "alice", "3")
		h.wantFull("bob", "alice", "4")
		end(false)
		h.wantFull("bob", "alice", "4")
		h.wantBodies(h.ask("alice", start, all), "1", "2", "3")

		h.open("carol")
		long := string(make([]byte, 60))
		h.send("bob", "carol", long)
		end = h.take("carol", 1)
		h.send("bob", "carol", long)
		end(true)
		h.wantBodies(h.ask("carol", start, all), long)
	}},

	{name: "a message that was acknowledged meanwhile stays away", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		second := h.ask("alice", start, 2).Cursor
		end := h.take("alice", 2)
		h.ask("alice", second, 0)
		h.wantBodies(h.ask("alice", start, all), "3")
		end(false)
		h.wantBodies(h.ask("alice", start, all), "3")
	}},

	{name: "the next life of an inbox is not concerned", timed: true, run: func(h *harness) {
		for name, end := range map[string]func(){
			"close":  func() { h.close("alice") },
			"expiry": func() { h.until(time.Now(), h.past()) },
		} {
			h.open("alice")
			h.send("bob", "alice", "1", "2")
			endPop := h.take("alice", 1)
			b := h.ask("alice", start, all)
			end()
			h.open("alice")
			if !ended(b) {
				h.Errorf("%s: the look was not told that the pop has ended", name)
			}
			h.send("bob", "alice", "3")
			endPop(true)
			h.wantBodies(h.ask("alice", start, all), "3")
			h.close("alice")
		}
	}},

	{name: "a delivered pop restarts the expiry", timed: true, run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1")
		end := h.take("alice", 1)
		begin := time.Now()
		h.until(begin, h.ttl/2)
		end(true)
		h.until(begin, h.ttl/2+h.almost())
		h.wantAlive("alice", true)
	}},

	{name: "pops at once deliver each message once and in order", run: popsAtOnce},
}

func popsAtOnce(h *harness) {
	const messages, receivers = 300, 4
	h.open("alice")
	var got []string
	var mu sync.Mutex // guards got
	var all sync.WaitGroup
	for range receivers {
		all.Go(func() {
			for {
				b := h.ask("alice", start, 1+rand.IntN(3))
				if b.Taken != nil {
					<-b.Taken
				}
				mu.Lock()
				done := len(got) == messages
				mu.Unlock()
				if done {
					return
				}
				if len(b.Messages) == 0 {
					time.Sleep(time.Millisecond) // nothing waits here for a wake
					continue
				}
				end := h.store().Take(h.Context(), peer("alice"), b, nil)
				if end == nil {
					continue
				}
				delivered := rand.IntN(3) > 0
				if delivered {
					mu.Lock()
					for _, m := range b.Messages {
						got = append(got, string(m.Body))
					}
					mu.Unlock()
				}
				end(delivered)
			}
		})
	}
	for i := range messages {
		for {
			if _, err := h.trySend(peer("bob"), "alice", "", fmt.Sprint(i)); err == nil {
				break
			}
			time.Sleep(time.Millisecond) // until there is room
		}
	}
	all.Wait()
	for i, body := range got {
		if body != fmt.Sprint(i) {
			h.Fatalf("message %s came as number %d", body, i)
		}
	}
}

// take looks for n messages and takes them.
func (h *harness) take(id string, n int) (end func(delivered bool)) {
	h.Helper()
	return h.takeFor(nil, id, n)
}

func (h *harness) takeFor(w *inbox.Waker, id string, n int) (end func(delivered bool)) {
	h.Helper()
	end = h.store().Take(h.Context(), peer(id), h.ask(id, start, n), w)
	if end == nil {
		h.Fatalf("nothing was taken")
	}
	return end
}

func (h *harness) wantNothingTaken(id string, b inbox.Batch, w *inbox.Waker) {
	h.Helper()
	if h.store().Take(h.Context(), peer(id), b, w) != nil {
		h.Errorf("messages up to %d were taken", b.Cursor.Seq)
	}
}

// ended reports whether a look's pop has ended.
func ended(b inbox.Batch) bool {
	select {
	case <-b.Taken:
		return true
	default:
		return false
	}
}
