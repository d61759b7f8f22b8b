package relay

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"inbox/internal/turncred"
)

// fuzzed is a connection from which bytes come as they are, some at a time.
type fuzzed struct {
	net.Conn
	r     *bytes.Reader
	piece int
}

func (c *fuzzed) Read(p []byte) (int, error)         { return c.r.Read(p[:min(len(p), c.piece)]) }
func (c *fuzzed) Close() error                       { return nil }
func (c *fuzzed) SetReadDeadline(_ time.Time) error  { return nil }
func (c *fuzzed) SetWriteDeadline(_ time.Time) error { return nil }

// Whatever comes over a connection, in whatever pieces, is cut into the same frames, each
// of which is one that pion takes for one.
func FuzzFrames(f *testing.F) {
	binding, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(binding.Raw, 1)
	f.Add(append([]byte{0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0}, binding.Raw...), 7)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		frames := func(piece int) (all [][]byte) {
			in := &intake{s: &Server{relays: new(Switch), keys: turncred.New("x")}, conns: make(map[*stream]struct{})}
			c := &fuzzed{r: bytes.NewReader(data), piece: piece}
			s := &stream{Conn: c, in: in, r: c, since: time.Now()}
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
			t.Error("the frames are not what came")
		}
	})
}
