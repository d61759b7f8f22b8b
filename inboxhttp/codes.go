package inboxhttp

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/limit"
	"inbox/internal/problem"
)

// maxCodeBody is the maximum length of a code in a request, with spaces, in bytes.
const maxCodeBody = 64

// codeRate bounds the codes that one address creates: a new code may end an older one.
// guessRate bounds the wrong codes that it tries: only one of 47 million codes is right.
var (
	codeRate      = limit.Rate{PerSecond: 1. / 6, Burst: 60}
	codeGuessRate = limit.Rate{PerSecond: 3. / 60, Burst: 3}
)

// invite handles POST ?code, with &room=<name> for a room.
func (h *Handler) invite(w http.ResponseWriter, r *http.Request, p inbox.Peer, q url.Values) error {
	room := q.Get("room")
	switch {
	case q.Has("to"):
		return badRequest("A request either sends a message or creates a code: send to or code.")
	case len(q["code"]) > 1 || len(q["room"]) > 1 || q.Get("code") != "":
		return badRequest("The parameter code has no value, and appears once.")
	case q.Has("room"):
		if err := checkRoom(room); err != nil {
			return err
		}
	}
	if wait := h.rare.Take(h.rare.Key(clientaddr.Of(r.RemoteAddr)), codes, 1); wait > 0 {
		return problem.RateLimited.With("This address creates too many codes.").After(wait)
	}
	code, err := h.Store.Invite(r.Context(), p, room)
	if err != nil {
		return err
	}
	h.answerJSON(w, struct {
		Code    string `json:"code"`
		Seconds int    `json:"seconds"`
	}{code, int(inbox.CodeTTL / time.Second)})
	return nil
}

// redeem handles POST /code. The body is the code, as a person has typed it.
func (h *Handler) redeem(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCodeBody))
	if err != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // do not wait for the rest of the body
		}
		return bodyError(err)
	}
	code, ok := inbox.ParseCode(string(body))
	if !ok {
		return badRequest("A code has six letters.")
	}
	client := h.rare.Key(clientaddr.Of(r.RemoteAddr))
	if wait := h.rare.Wait(client, codeGuesses); wait > 0 {
		return problem.RateLimited.With("This address has tried too many wrong codes.").After(wait)
	}
	i, err := h.Store.Redeem(r.Context(), code)
	if errors.Is(err, inbox.ErrNoCode) {
		h.rare.Add(client, codeGuesses, 1)
	}
	if err != nil {
		return err
	}
	h.answerJSON(w, struct {
		ID   string `json:"id"`
		Room string `json:"room,omitempty"`
	}{i.Peer, i.Room})
	return nil
}
