package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/internal/meter"
	"inbox/memstore"
)

// Held agrees with the messages that are in the inboxes, after every kind of operation.
func TestHeldIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, inbox.Limits{TTL: ttl, Messages: 8})
		const peers = 20
		check := func(s *memstore.Store, after string) {
			t.Helper()
			messages, bytes := s.Held()
			var wantMessages, wantBytes int64
			for i := range peers {
				b, err := s.Look(t.Context(), peer(fmt.Sprint(i)), inbox.Cursor{}, 100, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range b.Messages {
					wantMessages, wantBytes = wantMessages+1, wantBytes+int64(len(m.Body))
				}
			}
			if messages != wantMessages || bytes != wantBytes {
				t.Fatalf("after %s the store counts %d messages of %d bytes, and has %d of %d", after, messages, bytes, wantMessages, wantBytes)
			}
		}
		check(s, "the start") // this opens all inboxes
		for range 2000 {
			a, b := peer(fmt.Sprint(rand.IntN(peers))), peer(fmt.Sprint(rand.IntN(peers)))
			what := "a send"
			switch rand.IntN(20) {
			case 0:
				what = "a close"
				s.Close(t.Context(), a, 0)
			case 1:
				what = "an expiry"
				time.Sleep(ttl + time.Second)
			case 2, 3:
				what = "a pop"
				found, err := s.Look(t.Context(), a, inbox.Cursor{}, 1+rand.IntN(8), nil)
				if err != nil {
					t.Fatal(err)
				}
				if end := s.Take(t.Context(), a, found, nil); end != nil {
					end(rand.IntN(2) == 0)
				}
			case 4, 5:
				what = "an acknowledgement"
				found, err := s.Look(t.Context(), a, inbox.Cursor{}, rand.IntN(8), nil)
				if err != nil {
					t.Fatal(err)
				}
				s.Acknowledge(t.Context(), a, found.Cursor, nil)
			default: // sends, some of which are refused
				s.Send(t.Context(), a, b.ID, inbox.Draft{Body: make([]byte, rand.IntN(100))})
			}
			check(s, what)
		}
		file := filepath.Join(t.TempDir(), "snapshot")
		if err := s.Save(file, pepper); err != nil {
			t.Fatal(err)
		}
		loaded := memstore.New(inbox.Limits{TTL: ttl, Messages: 8})
		if _, err := loaded.Load(file); err != nil {
			t.Fatal(err)
		}
		check(loaded, "reading a snapshot")
	})
}

// Delivery observes each message once, with the time from its send to its
// acknowledgement. Messages of an inbox that expires or is closed were not delivered.
func TestDeliveryObservesAcknowledgedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := run(t, inbox.Limits{TTL: ttl})
		s.Delivery = new(meter.Histogram)
		p := peer("alice")
		look := func(after inbox.Cursor) inbox.Batch {
			b, err := s.Look(t.Context(), p, after, 10, nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		send := func() {
			if _, err := s.Send(t.Context(), peer("bob"), "alice", inbox.Draft{Body: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		opened := look(inbox.Cursor{}).Cursor
		send()
		time.Sleep(2 * time.Second)
		send()
		time.Sleep(time.Second)
		last := look(inbox.Cursor{}).Cursor
		look(last) // they waited 3 s and 1 s
		look(last)
		look(opened)
		send()
		time.Sleep(ttl + time.Second) // the inbox expires
		look(inbox.Cursor{})
		send()
		if _, err := s.Close(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		if d := s.Delivery.Read(); d.Count != 2 || d.Sum != 4*time.Second {
			t.Errorf("%d deliveries took %v in all, want 2 that took 4s", d.Count, d.Sum)
		}
	})
}
