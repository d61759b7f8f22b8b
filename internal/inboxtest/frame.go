package inboxtest

import (
	"errors"
	"io"

	"github.com/gobwas/ws"
)

// ReadFrame reads a frame of a WebSocket, as a client gets it: whole, and of a
// size that a test can hold.
func ReadFrame(r io.Reader) (ws.OpCode, []byte, error) {
	header, err := ws.ReadHeader(r)
	if err != nil {
		return 0, nil, err
	}
	if header.Length > 16<<20 || header.Masked || !header.Fin {
		return 0, nil, errors.New("a frame that is too long, masked or in pieces")
	}
	payload := make([]byte, header.Length)
	_, err = io.ReadFull(r, payload)
	return header.OpCode, payload, err
}
