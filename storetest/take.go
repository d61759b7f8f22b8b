package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"inbox"
)

// takeCases run if Config.Takes is set.
var takeCases = []testCase{
	{name: "looks find no message until the pop ends", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		end := h.take("alice", 2)
		for _, limit := range []int{1, all} {
			b := h.look("alice", start, limit)
			h.wantBodies(b)
			if b.Taken == nil {
				h.Errorf("Taken is nil during a pop")
			} else if ended(b) {
				h.Errorf("Taken was closed before the end of the pop")
			}
		}
		b := h.look("alice", start, all)
		end(true)
		if !ended(b) {
			h.Errorf("Taken was not closed at the end of the pop")
		}
		h.wantBodies(h.look("alice", start, all), "3")
	}},

	{name: "undelivered messages return to their place", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		before := h.look("alice", start, all)
		end := h.take("alice", 1)
		h.send("bob", "alice", "3")
		end(false)
		after := h.look("alice", start, all)
		h.wantBodies(after, "1", "2", "3")
		if after.Messages[0].Cursor != before.Messages[0].Cursor || after.Taken != nil {
			h.Errorf("the first message did not return to its place")
		}
	}},

	{name: "a pop does not affect a look that only acknowledges", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1")
		end := h.take("alice", 1)
		if b := h.look("alice", start, 0); b.Taken != nil {
			h.Errorf("Taken is set although the pop hides nothing from this look")
		}
		end(true)
	}},

	{name: "only one pop at a time succeeds", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		first := h.look("alice", start, 1)
		end := h.take("alice", 1)
		h.wantNothingTaken("alice", first, nil)
		end(true)
		h.take("alice", 1)(true)
		h.wantBodies(h.look("alice", start, all))
	}},

	{name: "a pop fails unless all of its messages exist", run: func(h *harness) {
		h.open("alice")
		h.wantNothingTaken("alice", inbox.Batch{}, nil)
		h.send("bob", "alice", "1", "2")
		b := h.look("alice", start, all)
		beyond := b
		beyond.Cursor.Seq++
		h.wantNothingTaken("alice", beyond, nil)
		h.look("alice", b.Messages[0].Cursor, 0)
		h.wantNothingTaken("alice", b, nil)
		h.look("alice", b.Cursor, 0)
		h.wantNothingTaken("alice", b, nil)
		h.close("alice")
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		h.wantNothingTaken("alice", b, nil)
	}},

	{name: "a receiver that has ended takes nothing", run: func(h *harness) {
		r := h.receiver("alice")
		r.look(start, all)
		h.send("bob", "alice", "1")
		b := r.look(start, all)
		h.receiver("alice").look(start, all)
		h.wantNothingTaken("alice", b, r.Waker)
		h.wantBodies(h.look("alice", start, all), "1")
	}},

	{name: "a receiver that attaches during a pop does not see delivered messages", run: func(h *harness) {
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

	{name: "the end of a pop wakes a receiver that looked", run: func(h *harness) {
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

	{name: "taken messages make room", limits: inbox.Limits{Messages: 2, Bytes: 100}, run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2")
		end := h.take("alice", 1)
		h.send("bob", "alice", "3")
		h.wantFull("bob", "alice", "4")
		end(false)
		h.wantFull("bob", "alice", "4")
		h.wantBodies(h.look("alice", start, all), "1", "2", "3")

		h.open("carol")
		long := string(make([]byte, 60))
		h.send("bob", "carol", long)
		end = h.take("carol", 1)
		h.send("bob", "carol", long)
		end(true)
		h.wantBodies(h.look("carol", start, all), long)
	}},

	{name: "a message acknowledged during a pop does not return", run: func(h *harness) {
		h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		second := h.look("alice", start, 2).Cursor
		end := h.take("alice", 2)
		h.look("alice", second, 0)
		h.wantBodies(h.look("alice", start, all), "3")
		end(false)
		h.wantBodies(h.look("alice", start, all), "3")
	}},

	{name: "a pop does not affect the next life of the inbox", timed: true, run: func(h *harness) {
		for name, end := range map[string]func(){
			"close":  func() { h.close("alice") },
			"expiry": func() { h.until(time.Now(), h.past()) },
		} {
			h.open("alice")
			h.send("bob", "alice", "1", "2")
			endPop := h.take("alice", 1)
			b := h.look("alice", start, all)
			end()
			h.open("alice")
			if !ended(b) {
				h.Errorf("%s: Taken was not closed", name)
			}
			h.send("bob", "alice", "3")
			endPop(true)
			h.wantBodies(h.look("alice", start, all), "3")
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

	{name: "concurrent pops deliver each message once, in order", run: concurrentPops},
}

func concurrentPops(h *harness) {
	const messages, receivers = 300, 4
	h.open("alice")
	var got []string
	var mu sync.Mutex // guards got
	var all sync.WaitGroup
	for range receivers {
		all.Go(func() {
			for {
				b := h.look("alice", start, 1+rand.IntN(3))
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
					time.Sleep(time.Millisecond) // this test does not wait for wakes
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
			h.Fatalf("message %s arrived at position %d", body, i)
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
	end = h.store().Take(h.Context(), peer(id), h.look(id, start, n), w)
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

// ended reports whether the pop that hid messages from a look has ended.
func ended(b inbox.Batch) bool {
	select {
	case <-b.Taken:
		return true
	default:
		return false
	}
}
