package redisstore

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"inbox"
	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// vandals are the ways in which another program may overwrite a key.
var vandals = map[string]func(redis *redistest.Server, key string){
	"a string":            func(r *redistest.Server, key string) { r.Must("SET", key, "hello") },
	"an empty string":     func(r *redistest.Server, key string) { r.Must("SET", key, "") },
	"a long string":       func(r *redistest.Server, key string) { r.Must("SET", key, strings.Repeat("garbage ", 40)) },
	"as long as a record": func(r *redistest.Server, key string) { r.Must("SET", key, strings.Repeat("\xff", 142)) },
	"zeros":               func(r *redistest.Server, key string) { r.Must("SET", key, strings.Repeat("\x00", 142)) },
	"a list":              func(r *redistest.Server, key string) { r.Must("DEL", key); r.Must("RPUSH", key, "x") },
	"a list of two":       func(r *redistest.Server, key string) { r.Must("DEL", key); r.Must("RPUSH", key, "x", "y") },
	"a list of long entries": func(r *redistest.Server, key string) {
		r.Must("DEL", key)
		r.Must("RPUSH", key, strings.Repeat("\xff", 40), strings.Repeat("\xff", 40))
	},
	"a hash":       func(r *redistest.Server, key string) { r.Must("DEL", key); r.Must("HSET", key, "x", "y") },
	"a set":        func(r *redistest.Server, key string) { r.Must("DEL", key); r.Must("SADD", key, "x") },
	"a sorted set": func(r *redistest.Server, key string) { r.Must("DEL", key); r.Must("ZADD", key, "1", "x") },
	"a stream":     func(r *redistest.Server, key string) { r.Must("DEL", key); r.Must("XADD", key, "*", "x", "y") },
	"a deletion":   func(r *redistest.Server, key string) { r.Must("DEL", key) },
	"appended bytes": func(r *redistest.Server, key string) {
		if m := r.Must("TYPE", key); m.String() != "" {
			if kind, _ := m.ToString(); kind == "string" {
				r.Must("APPEND", key, "x")
				return
			}
		}
		r.Must("DEL", key)
		r.Must("RPUSH", key, "x", "y", "z")
	},
}

// An inbox whose keys another program has overwritten behaves as if it had expired: the
// owner reopens it and gets a reset, and no request fails for long.
func TestKeysOverwrittenByAnotherProgram(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var log inboxtest.Log
	s := open(t, Config{URL: "redis://" + redis.Addr, Log: slog.New(slog.NewTextHandler(&log, nil)), Limits: inbox.Limits{TTL: time.Minute}})
	untilReady(t, s)
	ctx, n := t.Context(), 0
	for what, vandal := range vandals {
		for kind := range 4 {
			for first, operation := range map[string]func(id string) error{
				"look": func(id string) error {
					_, err := s.Look(ctx, peer(id), inbox.Cursor{}, 10, inbox.NewWaker(nil))
					return err
				},
				"no messages": func(id string) error { _, err := s.Look(ctx, peer(id), inbox.Cursor{}, 0, nil); return err },
				"acknowledge": func(id string) error { _, err := s.Acknowledge(ctx, peer(id), inbox.Cursor{}, nil); return err },
				"send to it": func(id string) error {
					return ignore(s.Send(ctx, peer("sender"), id, inbox.Draft{Body: []byte("x"), Key: "k2"}))
				},
				"send from it": func(id string) error {
					return ignore(s.Send(ctx, peer(id), "sender", inbox.Draft{Body: []byte("x")}))
				},
				"close": func(id string) error { _, err := s.Close(ctx, peer(id), 0); return err },
			} {
				n++
				id := fmt.Sprint("peer-", n)
				name := fmt.Sprintf("%s at key %d, then %s", what, kind, first)
				before, err := s.Look(ctx, peer(id), inbox.Cursor{}, 0, inbox.NewWaker(nil))
				if err != nil {
					t.Fatal(err)
				}
				for _, body := range []string{"one", "two"} {
					if _, err := s.Send(ctx, peer("sender"), id, inbox.Draft{Body: []byte(body), Key: body}); err != nil {
						t.Fatal(err)
					}
				}
				vandal(redis, s.place(id).keys[kind])
				if err := operation(id); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				// The inbox is unchanged, or was opened again with a reset.
				b, err := s.Look(ctx, peer(id), before.Cursor, 10, inbox.NewWaker(nil))
				if err != nil {
					t.Errorf("%s: a later look: %v", name, err)
				}
				if !b.Reset && b.Cursor.Life != before.Cursor.Life {
					t.Errorf("%s: another life without a reset", name)
				}
				if _, err := s.Send(ctx, peer("sender"), id, inbox.Draft{Body: []byte("three"), Key: "three"}); err != nil {
					t.Errorf("%s: a later send: %v", name, err)
				}
				b, err = s.Look(ctx, peer(id), inbox.Cursor{}, 10, nil)
				if err != nil || len(b.Messages) == 0 || string(b.Messages[len(b.Messages)-1].Body) != "three" {
					t.Errorf("%s: the last look returned %+v, %v", name, b, err)
				}
			}
		}
	}
	if s.Spoiled() == 0 {
		t.Error("Spoiled is 0")
	}
	if n := strings.Count(log.String(), "another program has overwritten"); n != 1 {
		t.Errorf("%d lines warn of it, want one per minute:\n%s", n, log.String())
	}
}

// ignore ignores ErrNoInbox, which is expected if the inbox was removed.
func ignore(_ bool, err error) error {
	if err == inbox.ErrNoInbox {
		return nil
	}
	return err
}

// A garbled fingerprint of the pepper is replaced. A different one is not.
func TestFingerprintOverwrittenByAnotherProgram(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	c := Config{URL: "redis://" + redis.Addr, Key: testKey}
	first, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Link().Close()
	m := redis.Must("KEYS", "*pepper")
	keys, err := m.AsStrSlice()
	if err != nil || len(keys) != 1 {
		t.Fatalf("the fingerprint is at %q, %v", keys, err)
	}
	for what, vandal := range vandals {
		vandal(redis, keys[0])
		s, err := Open(t.Context(), c)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		s.Link().Close()
		other := c
		other.Key[0]++
		if s, err := Open(t.Context(), other); err == nil {
			t.Errorf("%s: a different pepper is accepted afterwards", what)
			s.Link().Close()
		}
	}
}

// Owners are admitted and strangers are not, whatever another program has written in place
// of the count of wrong secrets.
func TestGuessCountOverwrittenByAnotherProgram(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	limits := inbox.Limits{Guesses: inbox.Guesses{Every: time.Hour, Burst: 3}}
	s := open(t, Config{URL: "redis://" + redis.Addr, Limits: limits})
	untilReady(t, s)
	client := netip.MustParseAddr("192.0.2.1")
	look := func(p inbox.Peer) error {
		p.Client = &client
		_, err := s.Look(t.Context(), p, inbox.Cursor{}, 10, nil)
		return err
	}
	all := maps.Clone(vandals)
	for _, value := range []string{"x", "nan", "inf", "-inf", "1e300", "-1e300", "9007199254740993"} {
		all["a string: "+value] = func(r *redistest.Server, key string) { r.Must("SET", key, value) }
	}
	for what, vandal := range all {
		owner := peer("owner of " + what)
		if _, err := s.Look(t.Context(), owner, inbox.Cursor{}, 10, nil); err != nil {
			t.Fatal(err)
		}
		vandal(redis, s.place(owner.ID).keys[4])
		stranger := owner
		stranger.Secret[0]++
		if err := look(stranger); !errors.Is(err, inbox.ErrUnauthorized) {
			t.Errorf("%s: a stranger got %v", what, err)
		}
		if err := look(owner); err != nil {
			t.Errorf("%s: the owner got %v", what, err)
		}
	}
}
