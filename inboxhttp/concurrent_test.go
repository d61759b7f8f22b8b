package inboxhttp_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// Many peers receive at once, on every transport, and drop their connections now and
// then. A peer that acknowledges and skips the cursors it has seen must receive every
// message once and in order. At the end every inbox must be empty.
func TestManyPeersOnEveryTransport(t *testing.T) {
	aloneOverEach(t, []wire{tcp, overTLS, twoServers}, config{}, func(s *server) {
		each, messages := 12, 8
		if s.redis == nil && !strings.HasPrefix(s.url, "https:") {
			each, messages = 64, 12
		}
		s.get("warm", "?limit=0") // pays for the first connection
		s.client.CloseIdleConnections()
		s.noLeaks(func() {
			var ledger inboxtest.Ledger
			m := &crowd{server: s, ledger: &ledger, messages: messages}
			var readers, senders sync.WaitGroup
			for _, tr := range transports {
				if tr.acknowledges && tr.waits {
					for i := range each {
						id := fmt.Sprintf("%s %d", tr.name, i)
						position := s.get(id, "?limit=0").cursor()
						m.ids = append(m.ids, id)
						readers.Go(func() { m.read(tr, id, position) })
					}
				}
			}
			for i := range 16 {
				senders.Go(func() { m.sendAll(i) })
			}
			senders.Wait()
			readers.Wait()
			ledger.Check(s)
			s.Logf("%d reconnections, %d repeated messages", m.again.Load(), m.repeated.Load())
			s.client.CloseIdleConnections()
		})
	})
}

type crowd struct {
	*server
	ledger          *inboxtest.Ledger
	ids             []string
	messages        int // to each reader, in total
	again, repeated atomic.Int64
}

// read receives at the inbox of id until all messages have arrived, and drops its
// connection after every few messages.
func (m *crowd) read(tr transport, id, position string) {
	seen := make(map[string]bool)
	c := tr.connect(m.server, id, position)
	defer func() { drop(c) }()
	for len(seen) < m.messages {
		e, err := c.next()
		if err != nil || e.code != "message" {
			m.Errorf("%s: got %+v, %v", id, e, err)
			return
		}
		if seen[e.cursor] {
			m.repeated.Add(1)
			continue
		}
		seen[e.cursor] = true
		m.ledger.Arrived(e.from, id, e.body)
		if len(seen)%5 == 0 {
			drop(c)
			if len(seen)%2 == 0 { // it has not saved its position
				position = e.cursor
			}
			c = tr.connect(m.server, id, position)
			m.again.Add(1)
		}
	}
}

// drop leaves a connection and closes what it keeps for the next one.
func drop(c connection) {
	c.leave()
	if p, ok := c.(*pollConnection); ok {
		p.client.CloseIdleConnections()
	}
}

// sendAll sends this sender's share to all readers in turn.
func (m *crowd) sendAll(sender int) {
	from := fmt.Sprint("sender-", sender)
	client := m.newClient()
	defer client.CloseIdleConnections()
	for i := range m.messages {
		for r, id := range m.ids {
			if (r+i)%16 != sender {
				continue
			}
			body := fmt.Sprintf("message %d to %s", i, id)
			q := sending(from, id, body)
			q.client = client
			for {
				a, err := m.try(m.Context(), q)
				if err == nil && a.code == "inbox-full" {
					time.Sleep(m.pollPause)
					q = sending(from, id, body)
					q.client = client
					continue
				}
				if err != nil || a.status != http.StatusOK {
					m.Errorf("a send failed: %d %v", a.status, err)
					return
				}
				m.ledger.Sent(from, id, body)
				break
			}
		}
	}
}
