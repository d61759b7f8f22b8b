package park

import (
	"bytes"
	"net"
	"net/http"
)

// Hijack takes a request's connection from net/http, with what was read from it
// beyond the request.
func Hijack(w http.ResponseWriter) (conn net.Conn, more []byte, err error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := buf.Reader.Buffered(); n > 0 {
		peeked, err := buf.Peek(n)
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		more = bytes.Clone(peeked)
	}
	return conn, more, nil
}
