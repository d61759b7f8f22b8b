package inboxhttp

import (
	"net/http"

	"inbox"
	"inbox/internal/meter"
)

// close handles DELETE: it closes the peer's inbox.
func (h *Handler) close(w http.ResponseWriter, r *http.Request) error {
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	life, err := closedLife(r)
	if err != nil {
		return err
	}
	if err := h.Store.Close(r.Context(), p, life); err != nil {
		return err
	}
	h.answer(w, meter.HTTP, http.StatusNoContent)
	return nil
}

// closedLife reads the life parameter of a DELETE: any cursor of the life to close. It
// returns 0, which matches every life, if the parameter is absent.
func closedLife(r *http.Request) (uint64, error) {
	q, err := query(r, "life")
	if err != nil || !q.Has("life") {
		return 0, err
	}
	c, err := inbox.ParseCursor(q.Get("life"))
	if err == nil && c.Life == 0 { // "0" is before every life and identifies none
		err = inbox.ErrBadCursor
	}
	return c.Life, err
}
