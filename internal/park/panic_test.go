package park

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// A panic ends only its own connection, whichever goroutine runs the function, and is logged.
func TestPanic(t *testing.T) {
	for _, begin := range []bool{false, true} {
		eachKind(t, func(t *testing.T, l *Lot, open opener) {
			var log inboxtest.Log
			l.log = slog.New(slog.NewTextHandler(&log, nil))
			server, client := open(t)
			spot := parked(t, l, server, func(*Spot, Events) { panic("a fault") })
			other, _ := open(t)
			v := visit(t, l, other)
			if begin {
				spot.Begin()
			} else {
				spot.Wake()
			}
			if _, err := client.Read(make([]byte, 1)); err == nil {
				t.Error("the connection is still there")
			}
			inboxtest.Until(t, "it is logged", func() bool { return strings.Contains(log.String(), "a fault") })
			spot.Wake() // has no effect
			v.spot.Wake()
			v.on(Woken, func(*Spot) {})
			v.leave()
			l.Wait(t.Context())
		})
	}
}

// After Leave, a panic does not close the connection.
func TestPanicAfterLeave(t *testing.T) {
	eachKind(t, func(t *testing.T, l *Lot, open opener) {
		l.log = slog.New(slog.DiscardHandler)
		server, client := open(t)
		spot := parked(t, l, server, func(s *Spot, _ Events) {
			conn, err := s.Leave()
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				io.WriteString(conn, "x")
				conn.Close()
			}()
			panic("a fault")
		})
		spot.Wake()
		if n, err := client.Read(make([]byte, 1)); n != 1 {
			t.Errorf("read %d bytes and the error %v", n, err)
		}
		l.Wait(t.Context())
	})
}
