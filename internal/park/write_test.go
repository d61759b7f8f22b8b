package park

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// Deadlines that were set before Park do not end later writes.
func TestParkClearsDeadlines(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open func(testing.TB) (server, client net.Conn)) {
		server, client := open(t)
		server.SetDeadline(time.Now().Add(-time.Second))
		done := make(chan error, 1)
		s := parked(t, l, server, func(s *Spot, _ Events) {
			done <- s.Write([]byte("hello"), time.Minute)
			s.Close()
		})
		s.Wake()
		got := make([]byte, 5)
		if _, err := io.ReadFull(client, got); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		if err := errors.Join(<-done, l.Wait(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// Write waits for a client that reads slowly, but not longer than its timeout. Afterwards
// the connection can be written to again.
func TestWriteWaits(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open func(testing.TB) (server, client net.Conn)) {
		server, client := open(t)
		large := bytes.Repeat([]byte("0123456789"), 1<<20)
		slow, stuck, again := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		s := parked(t, l, server, func(s *Spot, _ Events) {
			slow <- s.Write(large, time.Minute)
			again <- s.Write([]byte("more"), time.Minute)
			var err error
			for n := 0; err == nil && n < 10; n++ { // the kernel's buffers take one or two
				err = s.Write(large, 50*time.Millisecond)
			}
			stuck <- err
			s.Close()
		})
		s.Wake()
		got := make([]byte, len(large)+len("more"))
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, append(large, "more"...)) {
			t.Error("the bytes that arrive differ from those written")
		}
		if err := errors.Join(<-slow, <-again); err != nil {
			t.Error(err)
		}
		if err := <-stuck; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v to a client that does not read", err)
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
