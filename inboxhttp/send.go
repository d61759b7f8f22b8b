package inboxhttp

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/meter"
	"inbox/internal/problem"
	"inbox/internal/socket"
)

// send handles POST ?to=<id>, and passes POST ?code on.
func (h *Handler) send(w http.ResponseWriter, r *http.Request) error {
	client := clientaddr.Of(r.RemoteAddr)
	from, err := h.peer(r)
	if err != nil {
		return err
	}
	if q, err := query(r); err != nil {
		return err
	} else if q.Has("code") {
		return h.invite(w, r, from, q)
	}
	to, err := recipient(r)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	if hasContentEncoding(r.Header) {
		return problem.EncodedBody
	}
	in := incoming{inFlight: h.InFlight, client: client}
	defer in.release()
	body, err := h.body(&in, w, r)
	if err != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // do not wait for the rest of the body
		}
		return err
	}
	replayed, err := h.submit(r.Context(), client, from, to, inbox.Draft{Key: key, Body: body})
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	h.answer(w, meter.HTTP, http.StatusOK)
	return nil
}

// hasContentEncoding reports whether the body has a Content-Encoding other than identity.
func hasContentEncoding(header http.Header) bool {
	return socket.Listed(header["Content-Encoding"], func(s string) bool { return s != "" && !strings.EqualFold(s, "identity") })
}

// submit sends a message through the store. It enforces the client's limit on messages to
// absent recipients.
func (h *Handler) submit(ctx context.Context, client netip.Addr, from inbox.Peer, to string, d inbox.Draft) (replayed bool, err error) {
	if err := h.Clients.Recipient(client); err != nil {
		return false, err
	}
	replayed, err = h.Store.Send(ctx, from, to, d)
	if errors.Is(err, inbox.ErrNoInbox) {
		h.Clients.Missing(client)
	}
	return replayed, err
}

// recipient returns the to parameter. The body never names a recipient, so that filters
// that see only the URL see the same one as the server.
func recipient(r *http.Request) (string, error) {
	q, err := query(r)
	if err != nil {
		return "", err
	}
	switch len(q["to"]) {
	case 1:
	case 0:
		return "", badRecipient("The query names no recipient. Add the parameter to with the recipient's id.")
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
