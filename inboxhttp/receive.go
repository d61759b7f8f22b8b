package inboxhttp

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"inbox"
)

// receive is GET: a poll, or a long poll.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request) error {
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	a, err := h.ask(r)
	if err != nil {
		return err
	}
	if r.ContentLength != 0 {
		return badRequest("A GET has no body.")
	}
	if h.Draining() && a.limit > 0 {
		return inbox.ErrDraining
	}
	var b inbox.Batch
	if a.wait == 0 || a.limit == 0 {
		b, err = h.Store.Receive(r.Context(), p, a.after, a.limit, nil)
	} else {
		b, err = inbox.NewReceiver(h.draining).Receive(r.Context(), h.Store, p, a.after, a.limit, a.wait)
	}
	if err != nil {
		return err
	}
	setCursor(w.Header(), b)
	if len(b.Messages) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	content := h.content(w.Header(), b, a.json)
	if a.pop {
		return h.pop(w, r, p, b.Cursor, content)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
	return nil
}

// pop writes messages and then acknowledges them for their owner: what was not
// flushed to a connection that lives stays in the inbox.
func (h *Handler) pop(w http.ResponseWriter, r *http.Request, p inbox.Peer, upTo inbox.Cursor, content []byte) error {
	if !present(r) {
		return context.Canceled
	}
	// The next request of this connection waits until we are done, but one of
	// another connection does not, and would find the same messages again. So
	// where another is sure to come, the answer's end goes out after the
	// acknowledgement: HTTP/2 does so by itself, HTTP/1 when the length is open.
	if !r.Close {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	}
	if _, err := w.Write(content); err != nil {
		return nil // the connection is gone, the messages stay
	}
	if err := http.NewResponseController(w).Flush(); err != nil || !delivered(r) {
		return nil
	}
	// Not under the request's context: what was delivered is not to come again.
	if _, err := h.Store.Receive(context.WithoutCancel(r.Context()), p, upTo, 0, nil); err != nil {
		h.Log.Warn("a delivered message could not be removed and may be delivered again", "error", err)
	}
	return nil
}

func setCursor(header http.Header, b inbox.Batch) {
	header["Inbox-Cursor"] = []string{b.Cursor.String()}
	if b.Reset {
		header.Set("Inbox-Reset", "true")
	}
}

// content is a batch as its reader asked for it, with the headers that tell how
// to read it.
func (h *Handler) content(header http.Header, b inbox.Batch, asJSON bool) []byte {
	if asJSON {
		header.Set("Content-Type", "application/json")
		return encodeBatch(b)
	}
	header["Content-Type"] = octetStream
	header["X-From"] = []string{encodeFrom(b.Messages[0].From)}
	return b.Messages[0].Body
}

var octetStream = []string{"application/octet-stream"}

type batchJSON struct {
	Cursor   string        `json:"cursor"`
	Messages []messageJSON `json:"messages"`
	Reset    bool          `json:"reset,omitempty"`
}

type messageJSON struct {
	Cursor string  `json:"cursor"`
	From   string  `json:"from"`
	Time   string  `json:"time"`
	Body   *string `json:"body,omitempty"`
	Body64 []byte  `json:"body64,omitempty"` // when the bytes are not UTF-8
}

func newMessageJSON(m inbox.Message) messageJSON {
	j := messageJSON{Cursor: m.Cursor.String(), From: m.From, Time: m.Time.Format(time.RFC3339Nano)}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		j.Body = &body
	} else {
		j.Body64 = m.Body
	}
	return j
}

func encodeBatch(b inbox.Batch) []byte {
	j := batchJSON{Cursor: b.Cursor.String(), Messages: make([]messageJSON, len(b.Messages)), Reset: b.Reset}
	for i := range b.Messages {
		j.Messages[i] = newMessageJSON(b.Messages[i])
	}
	content, err := json.Marshal(j)
	if err != nil {
		panic(err) // strings and a flag
	}
	return content
}

// encodeFrom percent-encodes what a header cannot carry, and the percent sign,
// so that decodeURIComponent gives every id back.
func encodeFrom(id string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return c >= '!' && c <= '~' && c != '%' }
	n := 0
	for i := range len(id) {
		if !plain(id[i]) {
			n++
		}
	}
	if n == 0 {
		return id
	}
	encoded := make([]byte, 0, len(id)+2*n)
	for i := range len(id) {
		if c := id[i]; plain(c) {
			encoded = append(encoded, c)
		} else {
			encoded = append(encoded, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(encoded)
}
