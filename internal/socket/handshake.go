package socket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"inbox/internal/clientaddr"
	"inbox/internal/park"
)

// IsUpgrade reports whether a request asks for a WebSocket, even if a proxy has dropped
// its Upgrade header. Treated as a plain GET, such a request could take a message, and its
// client would not read it. Check refuses it.
func IsUpgrade(header http.Header) bool {
	return namesWebSocket(header) || len(header["Sec-Websocket-Key"]) > 0
}

func namesWebSocket(header http.Header) bool {
	return Listed(header["Upgrade"], func(s string) bool { return strings.EqualFold(s, "websocket") })
}

// A HandshakeError is the reason why a request cannot become a WebSocket.
type HandshakeError struct {
	Status int    // HTTP status of the answer
	Detail string // for people
}

func (e HandshakeError) Error() string { return e.Detail }

func bad(detail string) error { return HandshakeError{http.StatusBadRequest, detail} }

// Check verifies that a request is a valid handshake (RFC 6455, 4.2.1). Its error is a
// HandshakeError. For status 426 it also sets the required headers of w.
func Check(w http.ResponseWriter, r *http.Request, o *Options) error {
	upgrades := Listed(r.Header["Connection"], func(s string) bool { return strings.EqualFold(s, "upgrade") })
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1 || !upgrades || !namesWebSocket(r.Header):
		return bad("A WebSocket starts with an Upgrade over HTTP/1.1. A proxy in front must pass it on.")
	case !isKey(r.Header["Sec-Websocket-Key"]):
		return bad("The request needs exactly one Sec-WebSocket-Key: 16 bytes in base64.")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		w.Header().Set("Upgrade", "websocket")
		return HandshakeError{http.StatusUpgradeRequired, "The server supports version 13 of the WebSocket protocol only."}
	case o.Subprotocol != "" && !Listed(r.Header["Sec-Websocket-Protocol"], func(s string) bool { return s == o.Subprotocol }):
		return bad("The Sec-WebSocket-Protocol must be " + o.Subprotocol + ".")
	}
	return NoBody(w, r)
}

// NoBody reads the body of a GET and returns a HandshakeError unless it is empty. Some
// gateways send an empty chunked body, HTTP/2 may end a request with an empty frame, and
// the end may arrive after the header. NoBody leaves nothing of the body on the
// connection that could be taken for the next request.
func NoBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > 0 {
		return bad("A GET must not have a body.")
	}
	var one [1]byte
	switch _, err := io.ReadFull(r.Body, one[:]); {
	case err == nil:
		return bad("A GET must not have a body.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return HandshakeError{http.StatusRequestTimeout, "The end of the body took too long to arrive."}
	case err != io.EOF:
		return bad("The body could not be read to its end.")
	}
	// The deadline of the body must not end a wait that follows. SetReadDeadline fails
	// where there are no deadlines, as in tests.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return nil
}

// Listed reports whether a header that is a list has an element for which is returns
// true.
func Listed(lines []string, is func(string) bool) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		for part := range strings.SplitSeq(line, ",") {
			if is(strings.TrimSpace(part)) {
				return true
			}
		}
		return false
	})
}

func isKey(lines []string) bool {
	if len(lines) != 1 {
		return false
	}
	nonce, err := base64.StdEncoding.DecodeString(lines[0])
	return err == nil && len(nonce) == 16
}

// acceptKey computes Sec-WebSocket-Accept (RFC 6455, 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Accept turns a request that has passed Check into a socket and parks it in lot. The
// returned wake calls the protocol's Look, like Socket.Wake.
func Accept(w http.ResponseWriter, r *http.Request, lot *park.Lot, o *Options, p Protocol) (wake func(), err error) {
	conn, early, err := park.Hijack(w)
	if err != nil {
		return nil, err
	}
	header := w.Header()
	header["Upgrade"] = []string{"websocket"}
	header["Connection"] = []string{"Upgrade"}
	header["Sec-Websocket-Accept"] = []string{acceptKey(r.Header.Get("Sec-WebSocket-Key"))}
	if o.Subprotocol != "" {
		header["Sec-Websocket-Protocol"] = []string{o.Subprotocol}
	}
	var answer bytes.Buffer
	answer.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	header.Write(&answer) // a bytes.Buffer never fails
	answer.WriteString("\r\n")
	now := time.Now()
	s := &Socket{protocol: p, options: o, client: clientaddr.Of(r.RemoteAddr), answer: answer.Bytes(), early: early, deadline: now.Add(pingEvery)}
	if o.FirstMessage > 0 {
		s.firstBy = now.Add(o.FirstMessage)
	}
	spot, err := lot.Park(conn, s.run)
	if err != nil {
		return nil, err
	}
	spot.For(r.Context())
	spot.Begin()
	return spot.Wake, nil
}
