package inboxhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Connections are parked, woken and handed back all the time. Each receives for several
// peers in turn, acknowledges or pops, sends requests whole or in parts, sends garbage,
// and leaves in every way. No message may reach the wrong peer, and no acknowledged or
// popped message may arrive again.
func TestHandedBackConnectionsStaySeparate(t *testing.T) {
	overEach(t, []wire{tcp, overTLS, twoServers}, config{}, func(s *server) {
		const clients, ids, rounds = 60, 3, 12
		for i := range clients * ids {
			s.open(fmt.Sprint("peer-", i))
		}
		done := make(chan struct{})
		var senders, askers sync.WaitGroup
		for lane := range 4 {
			senders.Go(func() {
				client := s.newClient()
				defer client.CloseIdleConnections()
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					case <-time.After(10 * time.Millisecond): // so that most polls wait long enough to be parked
					}
					to := fmt.Sprint("peer-", rand.IntN(clients*ids))
					r := sending(fmt.Sprint("sender-", lane), to, fmt.Sprintf("for %s, %d of %d", to, n, lane))
					r.client = client
					if a, err := s.try(s.Context(), r); err != nil || a.status != http.StatusOK && a.code != "inbox-full" {
						s.Errorf("a send failed: %d %s %v", a.status, a.code, err)
						return
					}
				}
			})
		}
		before := s.parked.Load()
		var bodies atomic.Int64
		for i := range clients {
			askers.Go(func() {
				own := make([]string, ids)
				for k := range own {
					own[k] = fmt.Sprint("peer-", i*ids+k)
				}
				bodies.Add(int64((&mixer{server: s, ids: own}).run(rounds)))
			})
		}
		askers.Wait()
		close(done)
		senders.Wait()
		s.Logf("%d bodies, parked %d times", bodies.Load(), s.parked.Load()-before)
		if bodies.Load() == 0 || s.parked.Load() == before {
			s.Error("there were hardly any polls")
		}
	})
}

// mixer receives for several peers on one connection.
type mixer struct {
	*server
	ids    []string
	cursor [10]string
	seen   map[string]bool // cursors that must not arrive again
	popped string          // by the last answer on this connection
	bodies int
}

// asked is a pending request of a peer.
type asked struct {
	peer int
	pops bool
}

func (m *mixer) run(rounds int) int {
	m.seen = make(map[string]bool)
	for k := range m.ids {
		m.cursor[k] = "0"
	}
	c := m.rawClient()
	for range rounds {
		var all []asked
		var text strings.Builder
		for range 1 + rand.IntN(2) {
			a := asked{rand.IntN(len(m.ids)), rand.IntN(3) == 0}
			query := "?after=" + m.cursor[a.peer] + "&wait=1"
			switch {
			case a.pops:
				query = "?wait=1"
			case len(all) > 0:
				query = "?wait=0&after=" + m.cursor[a.peer] // acknowledges only up to the message before
			}
			text.WriteString(plain(http.MethodGet, query, m.ids[a.peer], ""))
			all = append(all, a)
		}
		garbage, leaves := rand.IntN(12) == 0, rand.IntN(12) == 0
		if garbage {
			text.WriteString("\x16\x03 no request\r\n\r\n")
		}
		for rest := text.String(); len(rest) > 0; {
			n := len(rest)
			if rand.IntN(4) == 0 {
				n = 1 + rand.IntN(n)
			}
			if _, err := io.WriteString(c, rest[:n]); err != nil && !garbage {
				m.Errorf("%v: %v", m.ids, err)
				return m.bodies
			}
			if rest = rest[n:]; rand.IntN(2) == 0 {
				time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
			}
		}
		for _, a := range all {
			if leaves {
				break
			}
			if err := m.answerFor(a, c.r); err != nil {
				if !garbage {
					m.Errorf("%s: %v", m.ids[a.peer], err)
					return m.bodies
				}
				break
			}
		}
		if garbage || leaves {
			leavings[rand.IntN(len(leavings))].leave(c)
			c, m.popped = m.rawClient(), "" // after a reset it may arrive again
		}
	}
	c.Close()
	return m.bodies
}

func (m *mixer) answerFor(a asked, r *bufio.Reader) error {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	// The server has read this request only after the pop before it had finished.
	m.seen[m.popped], m.popped = true, ""
	switch res.StatusCode {
	case http.StatusNoContent, http.StatusConflict: // replaced by a newer connection, after the client had left an older one
		return nil
	case http.StatusOK:
	default:
		return fmt.Errorf("%s: %s", res.Status, body)
	}
	m.bodies++
	k, id := a.peer, m.ids[a.peer]
	if !strings.HasPrefix(string(body), "for "+id+", ") {
		return fmt.Errorf("the body is %q", body)
	}
	cursor := res.Header.Get("Inbox-Cursor")
	if m.seen[id+cursor] {
		return fmt.Errorf("%q arrived again", body)
	}
	if a.pops && m.redis == nil { // with Redis, a receiver that arrives at this moment may get it too
		m.popped = id + cursor
	} else if !a.pops && cursor != m.cursor[k] {
		m.seen[id+m.cursor[k]] = true
		m.cursor[k] = cursor
	}
	return nil
}
