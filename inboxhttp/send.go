package inboxhttp

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"inbox"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// send is POST ?to=<id>.
func (h *Handler) send(w http.ResponseWriter, r *http.Request) error {
	from, err := h.peer(r)
	if err != nil {
		return err
	}
	to, err := recipient(r)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	if socket.Listed(r.Header["Content-Encoding"], func(s string) bool { return s != "" && !strings.EqualFold(s, "identity") }) {
		return problem.EncodedBody
	}
	body, err := h.body(w, r)
	if err != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // the rest is not waited for
		}
		return err
	}
	replayed, err := h.Store.Send(r.Context(), from, to, inbox.Draft{Key: key, Body: body})
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// recipient comes from the query alone, never from a body, so that whoever
// looks at the URL sees the same one.
func recipient(r *http.Request) (string, error) {
	q, err := query(r)
	if err != nil {
		return "", err
	}
	switch len(q["to"]) {
	case 1:
	case 0:
		return "", badRecipient("The query names no recipient: it has to hold to=, and the recipient's id.")
	default:
		return "", badRecipient("The query names more than one recipient.")
	}
	to := q.Get("to")
	if err := inbox.CheckID(to); err != nil {
		return "", badRecipient(sentence(err))
	}
	return to, nil
}

func badRecipient(detail string) error {
	return problem.BadRecipient.With(detail)
}

func idempotencyKey(header http.Header) (string, error) {
	values := header["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", problem.BadKey.With("There is more than one Idempotency-Key header.")
	}
	if err := inbox.CheckKey(values[0]); err != nil {
		return "", problem.BadKey.With(sentence(err))
	}
	return values[0], nil
}

// body reads a body into memory of its size. Memory is taken as the bytes
// arrive, not as they are announced: an announcement costs its sender nothing.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(h.MaxBody) {
		return nil, problem.TooLarge
	}
	if r.ContentLength == 0 {
		if !r.ProtoAtLeast(1, 1) && r.Header.Get("Content-Length") == "" {
			// There may be chunks, which net/http does not read over HTTP/1.0.
			return nil, badRequest("Over HTTP/1.0 a body has a Content-Length.")
		}
		return nil, nil
	}
	const believed = 4 << 10
	size := believed
	if r.ContentLength > 0 && r.ContentLength < believed {
		size = int(r.ContentLength)
	}
	body := make([]byte, 0, size)
	src := r.Body
	if r.ContentLength < 0 {
		src = http.MaxBytesReader(w, src, int64(h.MaxBody))
	}
	for {
		if len(body) == cap(body) {
			if int64(len(body)) == r.ContentLength {
				return body, nil
			}
			body = append(body, 0)[:len(body)]
		}
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			if cap(body)-len(body) > len(body)/4 {
				body = append(make([]byte, 0, len(body)), body...)
			}
			return body, nil
		case err != nil:
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return nil, problem.TooLarge
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err
			}
			return nil, badRequest("The body could not be read to its end.")
		}
	}
}
