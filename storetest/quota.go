package storetest

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"inbox"
)

// A quota limits the number of inboxes that each client opens.
type quota struct {
	most int

	mu     sync.Mutex // guards opened
	opened map[netip.Addr]int
}

var errQuota = errors.New("too many inboxes")

var quotaClients atomic.Int32

// Open implements [inbox.Quota].
func (q *quota) Open(client netip.Addr) (account uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened[client] >= q.most {
		return 0, errQuota
	}
	if q.opened == nil {
		q.opened = make(map[netip.Addr]int)
	}
	q.opened[client]++
	return 0, nil
}

// Keep implements [inbox.Quota].
func (q *quota) Keep(uint64, int64) bool { return true }

var quotaCases = []testCase{
	{name: "a quota counts each inbox that is opened", limits: inbox.Limits{Quota: &quota{most: 2}}, run: func(h *harness) {
		here := int(quotaClients.Add(2)) // different clients in each run
		there := here + 1
		look := func(id string, address int, want error) {
			h.Helper()
			_, err := h.tryLook(at(address, peer(id)), start, all)
			h.want(err, want)
		}
		send := func(id string, address int, want error) {
			h.Helper()
			_, err := h.trySend(at(address, peer(id)), "bob", "", "")
			h.want(err, want)
		}
		h.open("bob") // a peer without an address has no quota
		for range 3 {
			look("alice", here, nil) // the same inbox each time
			send("alice", here, nil)
		}
		send("carol", here, nil)
		for range 2 {
			look("dave", here, errQuota)
			send("dave", here, errQuota)
			_, err := h.tryLook(at(here, peer("dave")), start, 0)
			h.want(err, errQuota)
			h.wantAlive("dave", false)
		}
		look("alice", here, nil)
		send("carol", here, nil)
		look("dave", there, nil)
		look("dave", here, nil) // it exists now
		send("alice", there, nil)
		h.close("alice")
		look("alice", here, errQuota) // reopening a closed inbox counts again
		look("alice", there, nil)
		look("erin", there, errQuota)

		admitted := at(here, peer("alice"))
		admitted.Admitted = true
		_, err := h.tryLook(admitted, start, all)
		h.want(err, nil)
		h.close("alice")
		_, err = h.tryLook(admitted, start, all) // admitted in the previous life
		h.want(err, errQuota)
		h.wantAlive("alice", false)
	}},
}
