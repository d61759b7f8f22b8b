package redisstore

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"inbox/internal/redislink"
)

const checkTimeout = 20 * time.Second

// Open connects to Redis and checks that it meets the requirements of the store. Its
// errors are for the person who set Redis up.
func Open(ctx context.Context, c Config) (*Store, error) {
	shared, err := redislink.Open(ctx, redislink.Config{
		URL: c.URL, Password: c.Password, RootCAs: c.RootCAs, ClientCertificate: c.ClientCertificate, Prefix: c.Prefix, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	seal, err := newSeal(c.Key, "inbox: rooms in redis")
	if err != nil {
		return nil, err
	}
	l := &link{
		Link: shared, waitReplicas: int64(c.WaitReplicas), log: c.Log,
		ids: redislink.NewHashes(c.Key, "redisstore: inbox name"), addresses: redislink.NewHashes(c.Key, "redisstore: address"),
		roomNames: redislink.NewHashes(c.Key, "redisstore: room"), roomSeal: seal, swept: make(chan struct{}, 1),
		delivery: c.Delivery, roundTrips: c.RoundTrips,
	}
	s := newStore(l, l.Prefix(), c.Limits)
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := s.check(ctx, c); err != nil {
		shared.Close()
		if errors.Is(err, context.DeadlineExceeded) { // ours, not the caller's deadline
			err = fmt.Errorf("redis did not answer within %v", checkTimeout)
		}
		return nil, err
	}
	return s, nil
}

// check inspects every Redis server and tries the scripts.
func (s *Store) check(ctx context.Context, c Config) error {
	client := s.Client()
	nodes := client.Nodes()
	for addr, node := range nodes {
		text, err := node.Do(ctx, node.B().Info().Build()).ToString()
		if err != nil {
			return refused(err, "redis at "+addr+" refuses INFO")
		}
		if err := checkInfo(parseInfo(text), s.log.With("redis", addr)); err != nil {
			return fmt.Errorf("redis at %s: %w", addr, err)
		}
		if err := redislink.Load(ctx, node); err != nil {
			return refusedScript(err, addr, "probe")
		}
		for _, sc := range allScripts {
			if err := node.Do(ctx, node.B().ScriptLoad().Script(sc.source).Build()).Error(); err != nil {
				return refusedScript(err, addr, sc.name)
			}
		}
	}
	// One part shows what the user may do. All parts are probed later.
	if err := s.Try(ctx); err != nil {
		return refused(err, "redis refuses a script that writes and publishes (the user needs the keys and channels "+s.Prefix()+"*)")
	}
	return s.checkPepper(ctx, client, c)
}

func refusedScript(err error, addr, name string) error {
	return refused(err, "redis at "+addr+" does not load the script "+name+" (the user needs SCRIPT LOAD, EVAL and EVALSHA)")
}

// refused returns an error that describes what Redis refuses, or that it is unreachable.
func refused(err error, what string) error {
	if _, answered := rueidis.IsRedisErr(err); answered {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("redis cannot be reached: %w", err)
}

// checkPepper checks that no other server uses a different pepper. Such servers would not
// find each other's peers.
func (s *Store) checkPepper(ctx context.Context, client rueidis.Client, c Config) error {
	own := base64.RawURLEncoding.EncodeToString(redislink.Derive(c.Key, "redisstore: fingerprint")[:9])
	name := s.Prefix() + "{" + redislink.Tag(0) + "}pepper"
	const remembered = 24 * time.Hour
	set := client.B().Set().Key(name).Value(own).Nx().Get().PxMilliseconds(remembered.Milliseconds()).Build()
	theirs, err := client.Do(ctx, set).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		return nil
	case err == nil && !isFingerprint(theirs), err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
		s.countSpoiled()
		put := client.B().Set().Key(name).Value(own).PxMilliseconds(remembered.Milliseconds()).Build()
		if err := client.Do(ctx, put).Error(); err != nil {
			return refused(err, "redis refuses SET")
		}
		return nil
	case err != nil:
		return refused(err, "redis refuses SET")
	case theirs != own:
		return fmt.Errorf("another server with this redis and prefix uses a different pepper, or did within the last day: use the same --pepper-file everywhere, or delete the key %s", name)
	}
	expire := client.B().Pexpire().Key(name).Milliseconds(remembered.Milliseconds()).Build()
	if err := client.Do(ctx, expire).Error(); err != nil {
		return refused(err, "redis refuses PEXPIRE")
	}
	return nil
}

// isFingerprint reports whether checkPepper can have written s, rather than another
// program.
func isFingerprint(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 9
}

func checkInfo(info map[string]string, log *slog.Logger) error {
	name, version, least := "Redis", info["redis_version"], "7.0"
	if v := info["valkey_version"]; v != "" {
		name, version, least = "Valkey", v, "7.2"
	}
	if !atLeast(version, least) {
		return fmt.Errorf("%s %s is too old, want at least %s", name, version, least)
	}
	if info["master_replid"] == "" {
		return errors.New("INFO lacks master_replid, which is needed to detect failovers")
	}
	if info["maxmemory"] == "0" {
		log.Warn("redis has no maxmemory, so nothing limits the number of inboxes")
	} else if policy := info["maxmemory_policy"]; policy != "noeviction" {
		return fmt.Errorf("maxmemory-policy is %s, which silently deletes inboxes when memory is short: set noeviction", policy)
	}
	return nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// atLeast compares the first two numbers of versions.
func atLeast(version, least string) bool {
	number := func(s string, i int) int {
		parts := strings.Split(s, ".")
		if i >= len(parts) {
			return 0
		}
		n, _ := strconv.Atoi(parts[i])
		return n
	}
	if a, b := number(version, 0), number(least, 0); a != b {
		return a > b
	}
	return number(version, 1) >= number(least, 1)
}
