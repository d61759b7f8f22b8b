package storetest

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"inbox"
)

// quota lets each client open so many inboxes.
type quota struct {
	most int

	mu     sync.Mutex // guards what follows
	opened map[netip.Addr]int
}

var errQuota = errors.New("enough inboxes")

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
	{name: "a quota is asked for each inbox that is opened", limits: inbox.Limits{Quota: &quota{most: 2}}, run: func(h *harness) {
		here := int(quotaClients.Add(2)) // in each run another
		there := here + 1
		ask := func(id string, address int, want error) {
			h.Helper()
			_, err := h.tryAsk(at(address, peer(id)), start, all)
			h.want(err, want)
		}
		send := func(id string, address int, want error) {
			h.Helper()
			_, err := h.trySend(at(address, peer(id)), "bob", "", "")
			h.want(err, want)
		}
		h.open("bob") // a peer without an address has no quota
		for range 3 {
			ask("alice", here, nil) // each time the same inbox
			send("alice", here, nil)
		}
		send("carol", here, nil)
		for range 2 {
			ask("dave", here, errQuota)
			send("dave", here, errQuota)
			_, err := h.tryAsk(at(here, peer("dave")), start, 0)
			h.want(err, errQuota)
			h.wantAlive("dave", false)
		}
		ask("alice", here, nil)
		send("carol", here, nil)
		ask("dave", there, nil)
		ask("dave", here, nil) // it is open now
		send("alice", there, nil)
		h.close("alice")
		ask("alice", here, errQuota) // an inbox that was closed is opened anew
		ask("alice", there, nil)
		ask("erin", there, errQuota)

		admitted := at(here, peer("alice"))
		admitted.Admitted = true
		_, err := h.tryAsk(admitted, start, all)
		h.want(err, nil)
		h.close("alice")
		_, err = h.tryAsk(admitted, start, all) // in the last life
		h.want(err, errQuota)
		h.wantAlive("alice", false)
	}},
}
