package inboxhttp

import (
	"net/http"
	"net/url"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/meter"
)

// close handles DELETE: it closes the peer's inbox or, with ?room=<name>, ends its
// membership of a room.
func (h *Handler) close(w http.ResponseWriter, r *http.Request) error {
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	q, err := query(r, "life", "room")
	if err != nil {
		return err
	}
	if q.Has("room") {
		err = h.leave(r, p, q)
	} else {
		var life uint64
		if life, err = closedLife(q); err == nil {
			var notified int
			notified, err = h.Store.Close(r.Context(), p, life)
			h.Clients.Charge(clientaddr.Of(r.RemoteAddr), notified/eventsPerRequest)
		}
	}
	if err != nil {
		return err
	}
	h.answer(w, meter.HTTP, http.StatusNoContent)
	return nil
}

// closedLife reads the life parameter of a DELETE: any cursor of the life to close. It
// returns 0, which matches every life, if the parameter is absent.
func closedLife(q url.Values) (uint64, error) {
	if !q.Has("life") {
		return 0, nil
	}
	c, err := inbox.ParseCursor(q.Get("life"))
	if err == nil && c.Life == 0 { // "0" is before every life and identifies none
		err = inbox.ErrBadCursor
	}
	return c.Life, err
}
