package inboxhttp

import "net/http"

// close is DELETE.
func (h *Handler) close(w http.ResponseWriter, r *http.Request) error {
	p, err := h.peer(r)
	if err != nil {
		return err
	}
	if err := h.Store.Close(r.Context(), p); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
