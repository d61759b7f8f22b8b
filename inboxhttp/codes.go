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
	wrongThrice
	wrongOnce
)

// The rates of codes, per address: those that it creates, the wrong ones that it tries, and
// the wrong ones that it tries while the server is under attack, and under a worse one.
var (
	codeRate       = limit.Rate{PerSecond: 1. / 6, Burst: 60}
	codeGuessRate  = limit.Rate{PerSecond: 3. / 60, Burst: 3}
	codeThriceRate = limit.Rate{PerSecond: 3. / 3600, Burst: 3}
	codeOnceRate   = limit.Rate{PerSecond: 1. / 3600, Burst: 1}
)

// allGuessesRate bounds the wrong codes of all addresses. Without it, a thousand addresses
// would find one of a thousand living codes within eleven minutes. With it, they need nine
// hours, and so do a million addresses. When the burst is used up, the server is under
// attack: only addresses that have tried fewer than three wrong codes can try one, so that
// people who mistype can try again. A few hundred addresses cannot make it worse: they have tried
// three each. After another half of the burst, only addresses that have not tried a wrong code
// for an hour can try one. When a second burst is used up, everyone waits.
var allGuessesRate = limit.Rate{PerSecond: 1, Burst: 600}

// codeRows is how many addresses the table of codes remembers, at 40 bytes each. An attacker
// who makes it forget is left with allGuessesRate.
const codeRows = 8 << 10

// codeLimits bounds what clients do with codes.
type codeLimits struct {
	each *limit.Table // by address
	all  *limit.Table // for all addresses together
}

func newCodeLimits() codeLimits {
	return codeLimits{limit.NewTable(codeRows, codeRate, codeGuessRate, codeThriceRate, codeOnceRate), limit.NewTable(1, allGuessesRate)}
}

// mayCreate counts a new code, or returns how long the client has to wait.
func (l codeLimits) mayCreate(client netip.Addr) time.Duration {
	return l.each.Take(l.each.Key(client), created, 1)
}

// guess counts a wrong code, or returns how long the client has to wait before it can try a
// code. It counts before the code is looked up, so that no number of simultaneous requests
// exceeds the limits. If the code turns out to be right, call revert.
func (l codeLimits) guess(client netip.Addr) time.Duration {
	key := l.each.Key(client)
	if wait := l.each.Take(key, wrong, 1); wait > 0 {
		return wait
	}
	if wait := l.crowded(key); wait > 0 {
		l.each.Add(key, wrong, -1)
		return wait
	}
	l.each.Add(key, wrongThrice, 1)
	l.each.Add(key, wrongOnce, 1)
	l.all.Add(l.everyone(), 0, 1)
	return 0
}

// crowded returns how long a client has to wait because of the wrong codes of all addresses.
func (l codeLimits) crowded(key limit.Key) time.Duration {
	burst := time.Duration(float64(allGuessesRate.Burst) / allGuessesRate.PerSecond * float64(time.Second))
	owed := l.all.Add(l.everyone(), 0, 0) // how long the rate takes to make up for all guesses
	switch {
	case owed < burst:
		return 0
	case owed < burst*3/2:
		return min(l.each.Wait(key, wrongThrice), owed-burst+time.Second)
	case owed < 2*burst:
		return min(l.each.Wait(key, wrongOnce), owed-burst*3/2+time.Second)
	}
	return owed - 2*burst + time.Second
}

// revert takes back what guess has counted.
func (l codeLimits) revert(client netip.Addr) {
	key := l.each.Key(client)
	for _, kind := range []int{wrong, wrongThrice, wrongOnce} {
		l.each.Add(key, kind, -1)
	}
	l.all.Add(l.everyone(), 0, -1)
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
	if wait := h.codes.guess(client); wait > 0 {
		return problem.RateLimited.With("Too many wrong codes were tried.").After(wait)
	}
	i, err := h.Store.Redeem(r.Context(), code)
	if !errors.Is(err, inbox.ErrNoCode) && (err == nil || r.Context().Err() == nil) {
		h.codes.revert(client) // but not for a client that has left: it may have used up a code
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
