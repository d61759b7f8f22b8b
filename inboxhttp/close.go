package inboxhttp

import (
	"net/http"

	"inbox"
	"inbox/internal/meter"
)

// close is DELETE.
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

// closedLife reads which life of the inbox a DELETE means, which any cursor of that
// life names; 0 means whichever there is.
func closedLife(r *http.Request) (uint64, error) {
	q, err := query(r, "life")
	if err != nil || !q.Has("life") {
		return 0, err
	}
	c, err := inbox.ParseCursor(q.Get("life"))
	if err == nil && c.Life == 0 { // the position before every life names none
		err = inbox.ErrBadCursor
	}
	return c.Life, err
}
