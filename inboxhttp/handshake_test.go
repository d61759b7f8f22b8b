package inboxhttp_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// 64 pairs of peers perform handshakes at once, repeatedly: an offer, an answer and ten
// candidates from each side. Nothing fails and nothing is lost.
func TestHandshakes(t *testing.T) {
	overTCP(t, config{}, func(s *server) { handshakes(s, s.times(64), time.Second) })
}

const candidates = 10

// handshakes lets pairs of peers meet for the duration d, each at least once, and
// compares accepted messages with received ones.
func handshakes(s *server, pairs int, d time.Duration) {
	s.Helper()
	var ledger inboxtest.Ledger
	var met, failed atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for i := range pairs {
		all.Go(func() {
			acknowledge := i%2 == 0
			for n := 0; n == 0 || time.Now().Before(end) && failed.Load() == 0; n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				alice := newPeer(s, &ledger, &failed, "alice-"+id, acknowledge)
				bob := newPeer(s, &ledger, &failed, "bob-"+id, acknowledge)
				var both sync.WaitGroup
				both.Go(func() { alice.meet(bob.id, false) })
				both.Go(func() { bob.meet(alice.id, true) })
				both.Wait()
				met.Add(1)
			}
		})
	}
	all.Wait()
	s.Logf("%d handshakes", met.Load())
	ledger.Check(s)
}

// meeting is one peer of a handshake.
type meeting struct {
	s           *server
	ledger      *inboxtest.Ledger
	failed      *atomic.Int64
	id          string
	asks, sends *http.Client
	acknowledge bool
	after       string
}

func newPeer(s *server, l *inboxtest.Ledger, failed *atomic.Int64, id string, acknowledge bool) *meeting {
	return &meeting{s: s, ledger: l, failed: failed, id: id, asks: s.newClient(), sends: s.newClient(), acknowledge: acknowledge, after: "0"}
}

// meet sends or answers an offer and then exchanges candidates.
func (m *meeting) meet(other string, offers bool) {
	defer m.asks.CloseIdleConnections()
	defer m.sends.CloseIdleConnections()
	if offers {
		m.send(other, "offer")
		if m.receive() != "answer" {
			m.fail("the first message is not an answer")
		}
	} else {
		if m.receive() != "offer" {
			m.fail("the first message is not an offer")
		}
		m.send(other, "answer")
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range candidates {
			m.send(other, fmt.Sprint("candidate ", i))
		}
	})
	for range candidates {
		m.receive()
	}
	sending.Wait()
}

func (m *meeting) fail(format string, args ...any) {
	if m.failed.Add(1) < 10 {
		m.s.Errorf(m.id+": "+format, args...)
	}
}

func (m *meeting) send(to, body string) {
	for m.failed.Load() == 0 {
		r := sending(m.id, to, body)
		r.client = m.sends
		a, err := m.s.try(m.s.Context(), r)
		switch {
		case err != nil:
			m.fail("%v", err)
		case a.status == http.StatusOK:
			m.ledger.Sent(m.id, to, body)
			return
		case a.code == "no-such-inbox": // the other peer has not arrived yet
			time.Sleep(5 * time.Millisecond)
		default:
			m.fail("a send got %d %s", a.status, a.body)
		}
	}
}

func (m *meeting) receive() string {
	for m.failed.Load() == 0 {
		r := request{id: m.id, client: m.asks}
		if m.acknowledge {
			r.query = "?after=" + m.after
		}
		a, err := m.s.try(m.s.Context(), r)
		switch {
		case err != nil:
			m.fail("%v", err)
		case a.status == http.StatusOK:
			m.after = a.header.Get("Inbox-Cursor")
			m.ledger.Arrived(a.header.Get("X-From"), m.id, a.body)
			return a.body
		case a.status != http.StatusNoContent:
			m.fail("a receive got %d %s", a.status, a.body)
		}
	}
	return ""
}
