package storetest

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"inbox"
)

func (h *harness) invite(id, room string) string {
	h.Helper()
	code, err := h.store().Invite(h.Context(), peer(id), room)
	if err != nil {
		h.Fatalf("a code of %q: %v", id, err)
	}
	if parsed, ok := inbox.ParseCode(code); !ok || parsed != code {
		h.Errorf("the code is %q", code)
	}
	return code
}

var codeCases = []testCase{
	{name: "a code leads to its peer or room, once", run: func(h *harness) {
		for _, room := range []string{"", "standup"} {
			code := h.invite("alice", room)
			i, err := h.store().Redeem(h.Context(), code)
			h.want(err, nil)
			if i != (inbox.Invitation{Peer: "alice", Room: room}) {
				h.Errorf("the code led to %+v", i)
			}
			_, err = h.store().Redeem(h.Context(), code)
			h.want(err, inbox.ErrNoCode)
		}
		h.wantAlive("alice", true)
	}},

	{name: "an unknown code leads nowhere", run: func(h *harness) {
		h.invite("alice", "")
		_, err := h.store().Redeem(h.Context(), inbox.NewCode())
		h.want(err, inbox.ErrNoCode)
	}},

	{name: "a code needs the password of the inbox", run: func(h *harness) {
		h.open("alice")
		_, err := h.store().Invite(h.Context(), stranger("alice"), "")
		h.want(err, inbox.ErrUnauthorized)
	}},

	{name: "codes differ, and each is redeemed once in a crowd", run: func(h *harness) {
		const n = 100
		codes := make([]string, n)
		for i := range codes {
			codes[i] = h.invite("alice", "")
		}
		var redeemed atomic.Int64
		h.crowd(4*n, func(i int) {
			switch _, err := h.store().Redeem(h.Context(), codes[i%n]); {
			case err == nil:
				redeemed.Add(1)
			case !errors.Is(err, inbox.ErrNoCode):
				h.Errorf("a code: %v", err)
			}
		})
		if redeemed.Load() != n {
			h.Errorf("%d codes were redeemed, want %d", redeemed.Load(), n)
		}
	}},

	{name: "codes of other clients never end a code", run: func(h *harness) {
		code := h.invite("alice", "standup")
		// Each client creates far more codes than a person needs, and is refused at most.
		h.crowd(32, func(i int) {
			client := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			mallory := peer("mallory")
			mallory.Client = &client
			for range 40 {
				if _, err := h.store().Invite(h.Context(), mallory, ""); err != nil && !errors.Is(err, inbox.ErrTooManyCodes) {
					h.Errorf("a code: %v", err)
				}
			}
		})
		i, err := h.store().Redeem(h.Context(), code)
		h.want(err, nil)
		if i != (inbox.Invitation{Peer: "alice", Room: "standup"}) {
			h.Errorf("the code led to %+v", i)
		}
	}},

	{name: "a code expires after ten minutes", bubble: true, run: func(h *harness) {
		early, late := h.invite("alice", ""), h.invite("alice", "")
		time.Sleep(inbox.CodeTTL - time.Nanosecond)
		_, err := h.store().Redeem(h.Context(), early)
		h.want(err, nil)
		time.Sleep(time.Nanosecond)
		_, err = h.store().Redeem(h.Context(), late)
		h.want(err, inbox.ErrNoCode)
	}},
}
