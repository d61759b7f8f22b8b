package park

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// dripping is a connection that, once it drips, returns one byte and then nothing,
// alternately.
type dripping struct {
	net.Conn
	drips bool
	has   bool
}

func (d *dripping) Read(p []byte) (int, error) {
	if !d.drips {
		return d.Conn.Read(p)
	}
	if d.has = !d.has; !d.has {
		return 0, ErrNothing
	}
	return d.Conn.Read(p[:1])
}

// crypto/tls does not record temporary errors: after ErrNothing it continues where it
// was, both in the header of a record and in its content. Secure depends on this. The
// test fails if a release of Go changes it.
func TestTLSDoesNotRecordTemporaryErrors(t *testing.T) {
	certificate := inboxtest.NewCertificate(t, "test")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			inner, outer := openTCP(t)
			slow := &dripping{Conn: inner}
			server := tls.Server(slow, &tls.Config{Certificates: []tls.Certificate{certificate.Pair}, MaxVersion: version})
			client := tls.Client(outer, &tls.Config{RootCAs: certificate.Pool, ServerName: "localhost", MaxVersion: version})
			shaken := make(chan error, 1)
			go func() { shaken <- server.Handshake() }()
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			if err := <-shaken; err != nil {
				t.Fatal(err)
			}
			slow.drips = true
			want := bytes.Repeat([]byte("0123456789"), 5000) // several records
			go func() {
				client.Write(want)
				client.CloseWrite()
				io.Copy(io.Discard, client)
			}()
			var got []byte
			nothing := 0
			for buf := make([]byte, 4<<10); ; {
				n, err := server.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					if err != ErrNothing {
						t.Fatalf("after %d bytes: %v", len(got), err)
					}
					nothing++
					if nothing%100 == 0 { // writing still works, too
						if _, err := server.Write([]byte("x")); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %d bytes that differ from the %d sent", len(got), len(want))
			}
			if nothing < len(want) {
				t.Errorf("there was nothing to read only %d times", nothing)
			}
		})
	}
}

// Bytes that crypto/tls had decrypted before the connection was parked are read first. If
// the spot is left unread, they stay with the connection.
func TestSecureKeepsDecryptedBytes(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("leaves %v", leaves), func(t *testing.T) {
			l := newLot(t)
			if l.poller == nil {
				t.Skip("there is no poller on this system")
			}
			server, client := openSecure(t)
			for _, text := range []string{"a first", " and a second record"} {
				if _, err := io.WriteString(client, text); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(server, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
			const want = "first and a second record"
			v := visit(t, l, server)
			if !leaves {
				v.begin(Readable)
				v.readAll(want)
				v.rests()
				write(t, client, "more")
				v.readAll("more")
				v.leave()
				return
			}
			v.begin(Gone)
			v.rests()
			v.spot.Wake()
			var left net.Conn
			v.on(Woken, func(s *Spot) {
				var err error
				if left, err = s.Leave(); err != nil {
					t.Error(err)
				}
			})
			got := make([]byte, len(want))
			left.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(left, got); err != nil || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// While other clients connect, every byte arrives in order in both directions.
func TestSecureBothWays(t *testing.T) {
	l := newLot(t)
	if l.poller == nil {
		t.Skip("there is no poller on this system")
	}
	const each = 300_000
	var all sync.WaitGroup
	for range 5 {
		server, client := openSecure(t)
		s := parked(t, l, server, func(s *Spot, e Events) { // echoes
			buf := make([]byte, 5000)
			for range 3 {
				n, err := s.ReadNow(buf)
				if n > 0 {
					err = errors.Join(err, s.Write(buf[:n], patience))
				}
				if err == ErrNothing {
					break
				}
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					s.Close()
					return
				}
			}
			if err := s.Watch(Readable); err != nil {
				t.Error(err)
			}
		})
		s.Wake()
		text := make([]byte, each)
		for i := range text {
			text[i] = byte(i * 7 / 3)
		}
		all.Go(func() {
			for rest := text; len(rest) > 0; {
				n := min(len(rest), 1+len(rest)%7001)
				if _, err := client.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		})
		all.Go(func() {
			got := make([]byte, each)
			client.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, text) {
				t.Errorf("the echo differs: %v", err)
			}
			client.Close()
		})
	}
	all.Wait()
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// A client that does not read delays a write over TLS until its timeout, and closing only
// for a limited time.
func TestSecureStuck(t *testing.T) {
	l := newLot(t)
	if l.poller == nil {
		t.Skip("there is no poller on this system")
	}
	server, _ := openSecure(t)
	took := make(chan time.Duration, 1)
	parked(t, l, server, func(s *Spot, _ Events) {
		var err error
		for err == nil {
			err = s.Write(make([]byte, 1<<20), 100*time.Millisecond)
		}
		begun := time.Now()
		s.Close()
		took <- time.Since(begun)
	}).Wake()
	if d := <-took; d > alertTimeout/2 {
		t.Errorf("closing took %v", d)
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// The client's address is known while the connection waits and after the client has left.
func TestRemoteAddr(t *testing.T) {
	eachWatched(t, func(t *testing.T, l *Lot, open opener) {
		server, client := open(t)
		want := client.LocalAddr().String()
		v := visit(t, l, server)
		v.begin(Gone)
		check := func(s *Spot) {
			if _, tcp := client.LocalAddr().(*net.TCPAddr); tcp != s.RemoteAddr().IsValid() || tcp && s.RemoteAddr().String() != want {
				t.Errorf("the address is %v, want %s", s.RemoteAddr(), want)
			}
		}
		v.spot.Wake()
		v.on(Woken, check)
		client.Close()
		v.on(Gone, check)
		v.leave()
	})
}
