package inboxhttp

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/limit"
	"inbox/internal/problem"
)

// maxCodeBody is the maximum length of a code in a request, with spaces, in bytes.
const maxCodeBody = 64

// Kinds of events in the table of codes.
const (
	created = iota
	wrong
	wrongUnderAttack
)

// The rates of codes, per address: those that it creates, the wrong ones that it tries, and
// the wrong ones that it tries while the server is under attack.
var (
	codeRate       = limit.Rate{PerSecond: 1. / 6, Burst: 60}
	codeGuessRate  = limit.Rate{PerSecond: 3. / 60, Burst: 3}
	codeAttackRate = limit.Rate{PerSecond: 1. / 3600, Burst: 1}
)

// allGuessesRate bounds the wrong codes of all addresses. Without it, a thousand addresses
// would find one of a thousand living codes within eleven minutes. With it, they need nine
// hours, and so do a million addresses. When the burst is used up, the server is under
// attack: addresses that have not tried a wrong code for an hour still can. When they have used
// up the burst a second time, everyone waits.
var allGuessesRate = limit.Rate{PerSecond: 1, Burst: 600}

// codeRows is how many addresses the table of codes remembers, at 32 bytes each. An attacker
// who makes it forget is left with allGuessesRate.
const codeRows = 8 << 10

// codeLimits bounds what clients do with codes.
type codeLimits struct {
	each *limit.Table // by address
	all  *limit.Table // for all addresses together
}

func newCodeLimits() codeLimits {
	return codeLimits{limit.NewTable(codeRows, codeRate, codeGuessRate, codeAttackRate), limit.NewTable(1, allGuessesRate)}
}

// mayCreate counts a new code, or returns how long the client has to wait.
func (l codeLimits) mayCreate(client netip.Addr) time.Duration {
	return l.each.Take(l.each.Key(client), created, 1)
}

// mayGuess returns how long a client has to wait before it can try a code, or 0.
func (l codeLimits) mayGuess(client netip.Addr) time.Duration {
	key := l.each.Key(client)
	if wait := l.each.Wait(key, wrong); wait > 0 {
		return wait
	}
	const burst = 600 * time.Second // how long allGuessesRate takes to make up for its burst
	owed := l.all.Add(l.everyone(), 0, 0)
	switch {
	case owed < burst:
		return 0
	case owed < 2*burst:
		return min(l.each.Wait(key, wrongUnderAttack), owed-burst+time.Second)
	}
	return owed - 2*burst + time.Second
}

// guessed counts a wrong code.
func (l codeLimits) guessed(client netip.Addr) {
	key := l.each.Key(client)
	l.each.Add(key, wrong, 1)
	l.each.Add(key, wrongUnderAttack, 1)
	l.all.Add(l.everyone(), 0, 1)
}

func (l codeLimits) everyone() limit.Key { return l.all.Key(netip.Addr{}) }

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
	const tooMany = "This address creates too many codes."
	if wait := h.codes.mayCreate(clientaddr.Of(r.RemoteAddr)); wait > 0 {
		return problem.RateLimited.With(tooMany).After(wait)
	}
	code, err := h.Store.Invite(r.Context(), p, room)
	if errors.Is(err, inbox.ErrTooManyCodes) {
		return problem.RateLimited.With(tooMany).After(time.Minute) // some are used or expire
	}
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
	client := clientaddr.Of(r.RemoteAddr)
	if wait := h.codes.mayGuess(client); wait > 0 {
		return problem.RateLimited.With("Too many wrong codes were tried.").After(wait)
	}
	i, err := h.Store.Redeem(r.Context(), code)
	if errors.Is(err, inbox.ErrNoCode) {
		h.codes.guessed(client)
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
