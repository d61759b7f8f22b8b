package relay

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"inbox/internal/turncred"
)

// No request of a client with credentials stops the server.
func FuzzRequests(f *testing.F) {
	credentials := turncred.FromPepper([32]byte{1})
	server, err := New(Config{Credentials: credentials, Log: slog.New(slog.DiscardHandler), Address: virtual})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { server.Close() })
	transport := []byte{0, 0x19, 0, 4, 17, 0, 0, 0}
	f.Add(uint16(stun.MethodAllocate), transport, []byte{0x40, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint16(stun.MethodRefresh), []byte{0, 0x0d, 0, 4, 0, 0, 0, 0}, []byte{})
	f.Add(uint16(stun.MethodCreatePermission), []byte{0, 0x12, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6}, []byte{})
	f.Add(uint16(stun.MethodChannelBind), []byte{0, 0x0c, 0, 4, 0x40, 0, 0, 0, 0, 0x12, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6}, []byte{})
	f.Add(uint16(stun.MethodConnect), []byte{0, 0x12, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6}, []byte{})
	f.Add(uint16(stun.MethodConnectionBind), []byte{0, 0x2a, 0, 4, 1, 2, 3, 4}, []byte{})
	f.Add(uint16(stun.MethodSend), []byte{0, 0x13, 0, 4, 1, 2, 3, 4}, []byte{})
	f.Fuzz(func(t *testing.T, method uint16, attributes, after []byte) {
		ours, theirs := net.Pipe()
		server.ServeConn(piped{ours})
		defer theirs.Close()
		s := &service{TB: t, Server: server}
		p := s.speaker(theirs, credentials.Mint("alice", time.Now()))
		p.allocate()
		given := setter(func(m *stun.Message) error {
			for rest := attributes; len(rest) >= 4 && len(m.Raw) < 1200; {
				n := min(int(binary.BigEndian.Uint16(rest[2:])), len(rest)-4)
				m.Add(stun.AttrType(binary.BigEndian.Uint16(rest)), rest[4:4+n])
				rest = rest[4+n:]
			}
			return nil
		})
		request, err := stun.Build(stun.TransactionID, stun.NewType(stun.Method(method&0xFFF), stun.ClassRequest), given,
			stun.NewUsername(p.username), stun.NewRealm(p.realm), stun.NewNonce(p.nonce),
			stun.MessageIntegrity(turn.GenerateAuthKey(p.username, p.realm, p.password)))
		if err != nil {
			return
		}
		go io.Copy(io.Discard, theirs)
		theirs.SetWriteDeadline(time.Now().Add(10 * time.Second))
		theirs.Write(request.Raw)
		theirs.Write(after)
	})
}

// fuzzed is a connection that returns data in pieces of a given size.
type fuzzed struct {
	net.Conn
	r     *bytes.Reader
	piece int
}

func (c *fuzzed) Read(p []byte) (int, error)         { return c.r.Read(p[:min(len(p), c.piece)]) }
func (c *fuzzed) Close() error                       { return nil }
func (c *fuzzed) SetReadDeadline(_ time.Time) error  { return nil }
func (c *fuzzed) SetWriteDeadline(_ time.Time) error { return nil }

// A byte stream is split into the same frames however it is cut into pieces, and pion
// accepts each frame.
func FuzzFrames(f *testing.F) {
	binding, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(binding.Raw, 1)
	f.Add(append([]byte{0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0}, binding.Raw...), 7)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		frames := func(piece int) (all [][]byte) {
			in := &intake{s: &Server{relays: new(Switch), keys: turncred.New("x")}, conns: make(map[uint64]*stream)}
			c := &fuzzed{r: bytes.NewReader(data), piece: piece}
			s := &stream{Conn: c, in: in, r: c}
			buf := make([]byte, 1600)
			for {
				n, err := s.Read(buf)
				if err != nil {
					return all
				}
				all = append(all, bytes.Clone(buf[:n]))
			}
		}
		whole, cut := frames(len(data)+1), frames(1+(piece&0xFFFF))
		if len(whole) != len(cut) {
			t.Fatalf("%d frames in one piece, %d in many", len(whole), len(cut))
		}
		for i, frame := range whole {
			if !bytes.Equal(frame, cut[i]) || len(frame) < frameHeader || frameLength(frame) != len(frame) {
				t.Errorf("frame %d is %x, %x in pieces", i, frame, cut[i])
			}
			isTURN(frame)
			isUnauthenticated(frame)
		}
		if joined := bytes.Join(whole, nil); !bytes.HasPrefix(data, joined) {
			t.Error("the frames differ from the data")
		}
	})
}
