package redisstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/redislink"
)

// Invite implements [inbox.Store]. It takes two round trips.
func (s *Store) Invite(ctx context.Context, p inbox.Peer, room string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	if err := s.open(ctx, s.place(p.ID), p); err != nil {
		return "", err
	}
	content, err := json.Marshal(inbox.Invitation{Peer: p.ID, Room: room})
	if err != nil {
		return "", err
	}
	for range 10 {
		code := inbox.NewCode()
		// If the answer is lost, the code stays unused and expires.
		err := s.code(ctx, code, func(b rueidis.Builder, key string) rueidis.Completed {
			return b.Set().Key(key).Value(s.sealed(string(content))).Nx().ExSeconds(int64(inbox.CodeTTL.Seconds())).Build()
		}).Error()
		switch {
		case err == nil:
			return code, nil
		case !rueidis.IsRedisNil(err): // nil means that the code is taken
			return "", s.codeError(ctx, err)
		}
	}
	return "", inbox.ErrServerFull
}

// Redeem implements [inbox.Store]. It takes one round trip.
func (s *Store) Redeem(ctx context.Context, code string) (inbox.Invitation, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errTooLong)
	defer cancel()
	text, err := s.code(ctx, code, func(b rueidis.Builder, key string) rueidis.Completed {
		return b.Getdel().Key(key).Build()
	}).ToString()
	if rueidis.IsRedisNil(err) {
		return inbox.Invitation{}, inbox.ErrNoCode
	}
	if err != nil {
		return inbox.Invitation{}, s.codeError(ctx, err)
	}
	var i inbox.Invitation
	content, ok := s.unsealed(text)
	if !ok || json.Unmarshal([]byte(content), &i) != nil {
		return inbox.Invitation{}, inbox.ErrNoCode // another program has overwritten the key
	}
	return i, nil
}

// code runs a command on the key of a code.
func (s *Store) code(ctx context.Context, code string, command func(b rueidis.Builder, key string) rueidis.Completed) rueidis.RedisResult {
	sum := s.roomTag("code:" + code) // no room has a colon in its name
	key := s.prefix + "{" + redislink.Tag(sum[16]) + "}" + base64.RawURLEncoding.EncodeToString([]byte(sum[:16])) + ":code"
	client := s.Client()
	return client.Do(ctx, command(client.B(), key))
}

func (s *Store) codeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return s.gaveUp(ctx, err)
	}
	if final, ok := finalError(err); ok {
		return final
	}
	return unavailable(fmt.Errorf("a code: %w", err))
}
