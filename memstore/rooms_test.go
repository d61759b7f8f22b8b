package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"inbox"
	"inbox/memstore"
)

// counted is a quota for all addresses together.
type counted struct {
	most  int64
	bytes atomic.Int64
}

func (q *counted) Open(netip.Addr) (account uint64, err error) { return 1, nil }

func (q *counted) Keep(_ uint64, n int64) bool {
	if q.bytes.Add(n) > q.most && n > 0 {
		q.bytes.Add(-n)
		return false
	}
	return true
}

// Peers join, leave, close, receive and expire in a random order, with too little memory for
// all of it. In the end nothing counts any more, for the server or for an address.
func TestRoomsGiveTheirMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quota := &counted{most: 60 << 10}
		s := run(t, inbox.Limits{TTL: ttl, Memory: 120 << 10, RoomMembers: 8, Rooms: 3, Quota: quota})
		var peers []inbox.Peer
		for i := range 60 {
			client := netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 2)})
			id := fmt.Sprint("peer-", i)
			peers = append(peers, inbox.Peer{ID: id, Secret: pepper.Secret(id, "password"), Client: &client})
		}
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for range 2000 {
					p, room := peers[rand.IntN(len(peers))], fmt.Sprint("room-", rand.IntN(12))
					switch rand.IntN(6) {
					case 0, 1:
						_, _ = s.Join(t.Context(), p, room)
					case 2:
						_, _ = s.LeaveRoom(t.Context(), p, room)
					case 3:
						_, _ = s.Close(t.Context(), p, 0)
					case 4:
						if b, err := s.Look(t.Context(), p, start, 10, nil); err == nil {
							_, _ = s.Acknowledge(t.Context(), p, b.Cursor, nil)
						}
					case 5:
						time.Sleep(ttl / 1000)
					}
				}
			})
		}
		workers.Wait()
		time.Sleep(2 * ttl)
		if inboxes, memory := s.Usage(); inboxes != 0 || memory != 0 {
			t.Errorf("%d inboxes and %d bytes are still counted", inboxes, memory)
		}
		if n := quota.bytes.Load(); n != 0 {
			t.Errorf("%d bytes of the addresses are still counted", n)
		}
	})
}

// A join and a departure cost the members of one room, whatever else the store contains.
func BenchmarkJoin(b *testing.B) {
	for _, members := range []int{2, 6, 64} {
		b.Run(fmt.Sprint(members, " members"), func(b *testing.B) {
			s := memstore.New(inbox.Limits{Messages: 1 << 30, Memory: 1 << 40})
			for i := range members - 1 {
				if _, err := s.Join(b.Context(), peer(fmt.Sprint("member-", i)), "standup"); err != nil {
					b.Fatal(err)
				}
			}
			last := peer("last")
			for b.Loop() {
				if _, err := s.Join(b.Context(), last, "standup"); err != nil {
					b.Fatal(err)
				}
				if _, err := s.LeaveRoom(b.Context(), last, "standup"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
