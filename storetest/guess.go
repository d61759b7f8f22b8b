package storetest

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"inbox"
)

// slowly allows three wrong secrets, and no more while a case runs.
var slowly = inbox.Limits{Guesses: inbox.Guesses{Every: time.Hour, Burst: 3}}

// at returns p with the address of the given number.
func at(address int, p inbox.Peer) inbox.Peer {
	client := netip.AddrFrom4([4]byte{192, 0, byte(address >> 8), byte(address)})
	p.Client = &client
	return p
}

// waysIn contains every operation that checks a secret.
var waysIn = map[string]func(h *harness, p inbox.Peer) error{
	"send": func(h *harness, p inbox.Peer) error { _, err := h.trySend(p, "bob", "", ""); return err },
	"look": func(h *harness, p inbox.Peer) error { _, err := h.tryLook(p, start, all); return err },
	"wait": func(h *harness, p inbox.Peer) error {
		_, err := h.store().Look(h.Context(), p, start, all, inbox.NewWaker(nil))
		return err
	},
	"acknowledge": func(h *harness, p inbox.Peer) error { _, err := h.tryLook(p, start, 0); return err },
	"close":       func(h *harness, p inbox.Peer) error { return h.tryClose(p, 1) }, // of a life that does not exist
}

var guessCases = []testCase{
	{name: "after too many wrong secrets, the right one gets the same answer", limits: slowly, run: func(h *harness) {
		h.open("bob")
		for name, try := range waysIn {
			h.open(name)
			for i := range 3 {
				h.want(try(h, at(i, stranger(name))), inbox.ErrUnauthorized)
			}
			for i := range 5 {
				h.want(try(h, at(i, stranger(name))), inbox.ErrRateLimited)
				h.want(try(h, at(i, peer(name))), inbox.ErrRateLimited)
			}
		}
	}},

	{name: "wrong secrets of others do not lock out the owner", limits: slowly, run: func(h *harness) {
		h.open("bob")
		for name, try := range waysIn {
			if name == "close" { // it does not open an inbox
				h.want(waysIn["look"](h, at(0, peer(name))), nil)
			}
			h.want(try(h, at(0, peer(name))), nil)
			for i := 1; i < 10; i++ {
				err := try(h, at(i, stranger(name)))
				h.want(err, []error{inbox.ErrUnauthorized, inbox.ErrRateLimited}[min(i/4, 1)])
			}
			h.want(try(h, at(0, peer(name))), nil)
			h.want(try(h, at(0, stranger(name))), inbox.ErrUnauthorized)
			h.want(try(h, at(0, peer(name))), nil)
		}
	}},

	{name: "wrong secrets of a peer without an address do not count", limits: slowly, run: func(h *harness) {
		h.want(waysIn["look"](h, at(0, peer("alice"))), nil)
		for range 5 {
			h.want(waysIn["look"](h, stranger("alice")), inbox.ErrUnauthorized) // not counted
		}
		h.want(waysIn["look"](h, at(1, peer("alice"))), nil)
		for i := range 5 {
			waysIn["look"](h, at(2+i, stranger("alice")))
		}
		h.want(waysIn["look"](h, peer("alice")), nil)
	}},

	{name: "wrong secrets of a peer that was admitted before do not count", limits: slowly, run: func(h *harness) {
		admitted := func(i int, p inbox.Peer) inbox.Peer {
			p = at(i, p)
			p.Admitted = true
			return p
		}
		look := waysIn["look"]
		h.want(look(h, admitted(0, peer("alice"))), nil) // opens the inbox, which remembers the address
		for range 5 {
			h.want(look(h, admitted(1, stranger("alice"))), inbox.ErrUnauthorized)
		}
		h.want(look(h, at(2, peer("alice"))), nil)
		for i := range 5 {
			look(h, at(3+i, stranger("alice")))
		}
		h.want(look(h, at(0, peer("alice"))), nil)
		h.want(look(h, at(9, peer("alice"))), inbox.ErrRateLimited)
		h.want(look(h, admitted(9, peer("alice"))), nil)
	}},

	{name: "an inbox remembers the last addresses of its owner", limits: slowly, run: func(h *harness) {
		for i := range inbox.KnownAddresses + 1 {
			h.want(waysIn["look"](h, at(i, peer("alice"))), nil)
		}
		for i := range 3 {
			h.want(waysIn["look"](h, at(100+i, stranger("alice"))), inbox.ErrUnauthorized)
		}
		h.want(waysIn["look"](h, at(0, peer("alice"))), inbox.ErrRateLimited)
		for i := range inbox.KnownAddresses {
			h.want(waysIn["look"](h, at(1+i, peer("alice"))), nil)
		}
	}},

	{name: "the address that opened the inbox is known, and so is one that presented a bad cursor", limits: slowly, run: func(h *harness) {
		_, err := h.tryLook(at(0, peer("alice")), start, 0)
		h.want(err, nil)
		b := h.look("alice", start, 0)
		_, err = h.tryLook(at(1, peer("alice")), plus(b.Cursor, 1), 0)
		h.want(err, inbox.ErrBadCursor)
		for i := range 3 {
			h.want(waysIn["look"](h, at(100+i, stranger("alice"))), inbox.ErrUnauthorized)
		}
		h.want(waysIn["look"](h, at(0, peer("alice"))), nil)
		h.want(waysIn["look"](h, at(1, peer("alice"))), nil)
	}},

	{name: "a cursor of this life exempts the owner at any address", limits: slowly, run: func(h *harness) {
		b := h.look("alice", start, 0)
		for i := range 5 {
			waysIn["look"](h, at(i, stranger("alice")))
		}
		h.want(waysIn["look"](h, at(10, peer("alice"))), inbox.ErrRateLimited)
		_, err := h.tryLook(at(10, stranger("alice")), b.Cursor, all)
		h.want(err, inbox.ErrUnauthorized)
		_, err = h.tryLook(at(11, peer("alice")), inbox.Cursor{Life: b.Cursor.Life + 1}, all)
		h.want(err, inbox.ErrRateLimited)
		h.want(h.tryClose(at(11, peer("alice")), b.Cursor.Life+1), inbox.ErrRateLimited)
		_, err = h.tryLook(at(11, peer("alice")), b.Cursor, all)
		h.want(err, nil)
		h.want(waysIn["look"](h, at(11, peer("alice"))), nil) // the address is known now
		h.want(h.tryClose(at(12, peer("alice")), b.Cursor.Life), nil)
	}},

	{name: "wrong secrets count for a single inbox and are forgotten with it", limits: slowly, run: func(h *harness) {
		h.open("alice")
		h.open("carol")
		for i := range 3 {
			h.want(waysIn["look"](h, at(i, stranger("alice"))), inbox.ErrUnauthorized)
		}
		h.want(waysIn["look"](h, at(1, peer("alice"))), inbox.ErrRateLimited)
		h.want(waysIn["look"](h, at(1, peer("carol"))), nil)
		h.close("alice")
		h.want(waysIn["look"](h, at(1, stranger("alice"))), nil) // the new owner
		for i := range 3 {
			h.want(waysIn["look"](h, at(10+i, peer("alice"))), inbox.ErrUnauthorized)
		}
		h.want(waysIn["look"](h, at(10, peer("alice"))), inbox.ErrRateLimited)
	}},

	{name: "wrong secrets are allowed again over time", timed: true, limits: inbox.Limits{Guesses: inbox.Guesses{Every: 200 * time.Millisecond, Burst: 4}}, run: func(h *harness) {
		h.open("alice")
		begin, wrong := time.Now(), 0
		for time.Since(begin) < h.ttl/2 {
			switch err := waysIn["look"](h, at(wrong, stranger("alice"))); {
			case err == nil:
				h.Fatalf("a stranger was let in")
			case errors.Is(err, inbox.ErrUnauthorized):
				wrong++
			default:
				h.want(err, inbox.ErrRateLimited)
			}
			time.Sleep(5 * time.Millisecond)
		}
		took := time.Since(begin)
		// A store may round its clock, or use a different one.
		if most := 4 + int((took+20*time.Millisecond)/(200*time.Millisecond)) + 1; wrong > most {
			h.Errorf("%d wrong secrets were tried in %v, want at most %d", wrong, took, most)
		}
		if least := 4 + int(h.ttl/2/(200*time.Millisecond)) - 2; wrong < least && h.cfg.Bubble {
			h.Errorf("%d wrong secrets were tried in %v, want at least %d", wrong, took, least)
		}
	}},

	{name: "stores that share inboxes count wrong secrets together", limits: inbox.Limits{Guesses: inbox.Guesses{Every: time.Hour, Burst: 50}}, run: func(h *harness) {
		h.want(waysIn["look"](h, at(0, peer("alice"))), nil)
		wrong := make([]bool, 300)
		h.crowd(len(wrong), func(i int) {
			err := waysIn["look"](h, at(1+i, stranger("alice")))
			if wrong[i] = err == inbox.ErrUnauthorized; !wrong[i] {
				h.want(err, inbox.ErrRateLimited)
			}
			if i%10 == 0 {
				h.want(waysIn["look"](h, at(0, peer("alice"))), nil)
			}
		})
		n := 0
		for _, is := range wrong {
			if is {
				n++
			}
		}
		if n != 50 {
			h.Errorf("%d wrong secrets were tried from %d addresses, want 50", n, len(wrong))
		}
	}},
}

var shareCases = []testCase{
	{name: "a single sender fills only its share of the messages", limits: inbox.Limits{Messages: 5, Share: 50}, run: func(h *harness) {
		opened := h.open("alice")
		h.send("bob", "alice", "1", "2", "3")
		h.wantFull("bob", "alice", "")
		h.send("carol", "alice", "4")
		h.send("bob", "alice", "5")
		h.wantFull("bob", "alice", "")
		h.wantFull("carol", "alice", "")
		h.look("alice", plus(opened, 4), 0) // carol's message is gone
		h.send("bob", "alice", "6", "7")
		h.wantFull("bob", "alice", "")
		h.send("carol", "alice", "8", "9")
		h.wantBodies(h.look("alice", start, all), "5", "6", "7", "8", "9")
		h.look("alice", plus(opened, 7), 0)
		h.send("carol", "alice", "10")
		h.wantFull("carol", "alice", "")
		h.send("bob", "alice", "11")
		h.look("alice", plus(opened, 11), 0)
		h.send("bob", "alice", "12", "13", "14")
		h.wantFull("bob", "alice", "")
	}},

	{name: "a single sender fills only its share of the bytes", limits: inbox.Limits{Bytes: 11, Share: 50}, run: func(h *harness) {
		opened := h.open("alice")
		h.send("bob", "alice", "123", "456")
		h.wantFull("bob", "alice", "7")
		h.send("bob", "alice", "")
		h.send("carol", "alice", "78901")
		h.wantFull("carol", "alice", "1")
		h.look("alice", plus(opened, 3), 0)
		h.send("carol", "alice", "1")
		h.wantFull("carol", "alice", "2")
		h.send("bob", "alice", "")
		h.send("carol", "alice", "23456")
	}},

	{name: "the first message always has room", limits: inbox.Limits{Messages: 1, Bytes: 10, Share: 50}, run: func(h *harness) {
		opened := h.open("alice")
		h.wantFull("bob", "alice", "12345678901")
		h.send("bob", "alice", "1234567890")
		h.wantFull("bob", "alice", "")
		h.look("alice", plus(opened, 1), 0)
		h.send("bob", "alice", "")
	}},

	{name: "an owner can fill all of its inbox", limits: inbox.Limits{Messages: 4, Share: 50}, run: func(h *harness) {
		h.open("alice")
		h.send("alice", "alice", "1", "2", "3", "4")
		h.wantFull("alice", "alice", "")
	}},

	{name: "a replay succeeds when the sender's share is full", limits: inbox.Limits{Messages: 4, Share: 50}, run: func(h *harness) {
		h.open("alice")
		h.sendKey("bob", "alice", "k", "1")
		h.send("bob", "alice", "2")
		h.wantFull("bob", "alice", "3")
		if !h.sendKey("bob", "alice", "k", "1") {
			h.Errorf("a replay appended a message")
		}
	}},

	{name: "each life begins with the full share", limits: inbox.Limits{Messages: 4, Share: 50}, run: func(h *harness) {
		for range 3 {
			h.open("alice")
			h.send("bob", "alice", "1", "2")
			h.wantFull("bob", "alice", "3")
			h.close("alice")
		}
	}},

	{name: "another sender always finds room", limits: inbox.Limits{Messages: 10, Share: 50}, run: func(h *harness) {
		h.open("alice")
		h.crowd(50, func(i int) { h.trySend(peer("flood"), "alice", "", fmt.Sprint(i)) })
		h.send("bob", "alice", "hello")
		b := h.look("alice", start, all)
		if n := len(b.Messages); n != 6 || string(b.Messages[5].Body) != "hello" {
			h.Errorf("%d messages, want 5 of the flood and one more", n)
		}
	}},
}
