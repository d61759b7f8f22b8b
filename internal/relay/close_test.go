package relay

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reluctant is a connection whose Close blocks until all others are being closed, as TLS
// blocks on a client that does not read.
type reluctant struct {
	net.Conn
	others *sync.WaitGroup
	once   sync.Once
}

func (c *reluctant) Close() error {
	c.once.Do(c.others.Done)
	c.others.Wait()
	return c.Conn.Close()
}

// Clients that do not read delay shutdown in parallel, not one after the other.
func TestCloseIsParallel(t *testing.T) {
	bubble(t, func(t *testing.T, s *service) {
		const conns = 20
		var others sync.WaitGroup
		others.Add(conns)
		for range conns {
			server, client := net.Pipe()
			defer client.Close()
			s.ServeConn(&reluctant{Conn: server, others: &others})
		}
		if n := s.Figures.Connections.Load(); n != conns {
			t.Fatalf("%d connections, want %d", n, conns)
		}
		begun := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if n := s.Figures.Connections.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}
