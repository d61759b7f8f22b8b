package redisstore

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"inbox"
	"inbox/internal/redislink"
)

var (
	//go:embed common.lua
	common string
	//go:embed open.lua
	openSource string
	//go:embed send.lua
	sendSource string
	//go:embed receive.lua
	receiveSource string
	//go:embed close.lua
	closeSource string
	//go:embed member.lua
	memberSource string
	//go:embed notify.lua
	notifySource string
	//go:embed room.lua
	roomSource string
	//go:embed due.lua
	dueSource string
)

// A script runs in one slot. Redis refuses to start a script when memory is short, unless
// it is flagged allow-oom. Scripts that remove messages have the flag.
type script struct {
	name, source, sha string
	lua               *rueidis.Lua
	append            bool // subject to Config.WaitReplicas
}

// maxInteger is the largest integer that scripts can represent exactly. Neither sequence
// numbers nor times come near it.
const maxInteger = 1<<53 - 1

const allowOOM = " flags=allow-oom"

var (
	openScript        = newScript("open", "", openSource)
	sendScript        = newScript("send", "", sendSource)
	receiveScript     = newScript("receive", allowOOM, "local OPENS = false\n"+receiveSource)
	openReceiveScript = newScript("receive", "", "local OPENS = true\n"+receiveSource)
	closeScript       = newScript("close", allowOOM, closeSource)
	enterScript       = newScript("member", "", memberSource)
	memberScript      = newScript("member", allowOOM, memberSource)
	notifyScript      = newScript("notify", "", notifySource)
	joinScript        = newScript("room", "", roomSource)
	roomScript        = newScript("room", allowOOM, roomSource)
	dueScript         = newScript("due", allowOOM, dueSource)

	allScripts = []*script{
		&openScript, &sendScript, &receiveScript, &openReceiveScript, &closeScript,
		&enterScript, &memberScript, &notifyScript, &joinScript, &roomScript, &dueScript,
	}
)

func newScript(name, flags, source string) script {
	whole := "#!lua" + flags + "\n" + common + source
	sum := sha1.Sum([]byte(whole)) // Redis names scripts by their SHA-1
	return script{name, whole, hex.EncodeToString(sum[:]), rueidis.NewLuaScript(whole), name == "send"}
}

var (
	errTooLong = redislink.ErrTimeout
	errAway    = errors.New("redis is unavailable")
)

func unavailable(err error) error { return fmt.Errorf("%w: %w", inbox.ErrUnavailable, err) }

// run executes a script and retries transient failures until ctx ends. Before retrying a
// call that may have executed, it calls beforeRetry, if not nil. It overwrites the last
// element of args with the deadline on Redis's clock.
func (l *link) run(ctx context.Context, sc *script, at place, args []string, beforeRetry func()) (reply, error) {
	health := l.Part(at.partition)
	if health.Down() {
		return reply{}, unavailable(errAway)
	}
	// An attempt may still execute until the deadline, so do not report a failure
	// earlier.
	deadline, _ := ctx.Deadline()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		args[len(args)-1] = strconv.FormatInt(l.Clock(deadline)+health.Ahead(), 10)
		rep, err := l.exec(ctx, sc, at, args)
		if err == nil && rep.code != codeLate {
			return rep, nil
		}
		if err != nil && ctx.Err() == nil && isSpoiled(err) {
			l.countSpoiled()
			continue // the retry finds no inbox
		}
		if ctx.Err() != nil {
			health.Suspect()
			return reply{}, l.gaveUp(ctx, err)
		}
		if err == nil { // our estimate of Redis's clock was wrong
			health.Observe(rep.clock(), l.Clock(time.Now()))
			continue
		}
		if err, final := finalError(err); final {
			return reply{}, err
		}
		health.Suspect()
		l.Doubt()
		if beforeRetry != nil {
			beforeRetry()
		}
		select {
		case <-time.After(pause):
		case <-l.Ended():
			return reply{}, unavailable(err)
		case <-ctx.Done():
			return reply{}, l.gaveUp(ctx, err)
		}
	}
}

// isSpoiled reports whether a script has found and removed data that our scripts cannot
// have written.
func isSpoiled(err error) bool {
	re, ok := rueidis.IsRedisErr(err)
	return ok && strings.Contains(re.Error(), "INBOXSPOILED")
}

// countSpoiled counts an inbox or key overwritten by another program. It logs a warning
// at most once a minute.
func (l *link) countSpoiled() {
	n := l.spoiled.Add(1)
	now := time.Now().Unix()
	if last := l.spoiledLogged.Load(); now-last >= 60 && l.spoiledLogged.CompareAndSwap(last, now) {
		l.log.Warn("removed keys in redis that another program has overwritten: see --redis-prefix", "times", n)
	}
}

// Spoiled returns how often this server has removed an inbox or a key that another
// program had overwritten.
func (s *Store) Spoiled() int64 { return s.spoiled.Load() }

// exec runs a script once. It returns when ctx ends.
func (l *link) exec(ctx context.Context, sc *script, at place, args []string) (reply, error) {
	if !l.Part(at.partition).Doubtful() {
		return l.execAsClient(ctx, sc, at.keys, args)
	}
	// The client may spend seconds connecting, regardless of ctx.
	type outcome struct {
		reply
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		rep, err := l.execAsClient(ctx, sc, at.keys, args)
		done <- outcome{rep, err}
	}()
	select {
	case o := <-done:
		return o.reply, o.err
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

func (l *link) execAsClient(ctx context.Context, sc *script, keys, args []string) (reply, error) {
	if l.roundTrips != nil {
		start := time.Now()
		defer func() { l.roundTrips.Observe(time.Since(start)) }()
	}
	if sc.append && l.waitReplicas > 0 {
		return l.execAndWait(ctx, sc, keys, args)
	}
	return parseReply(sc.lua.Exec(ctx, l.Client(), keys, args))
}

// gaveUp returns the error for an operation whose ctx has ended: ctx.Err if the caller
// canceled it, or ErrUnavailable if Redis took too long.
func (l *link) gaveUp(ctx context.Context, err error) error {
	if !errors.Is(context.Cause(ctx), errTooLong) {
		return ctx.Err()
	}
	l.Doubt()
	if errors.Is(err, context.DeadlineExceeded) {
		err = errTooLong
	}
	return unavailable(err)
}

// finalError reports whether a retry cannot succeed. If so, it returns the error of the
// operation.
func finalError(err error) (error, bool) {
	if short, ok := errors.AsType[shortOfReplicas](err); ok {
		return unavailable(short), true
	}
	if errors.Is(err, errReply) {
		return unavailable(err), true
	}
	re, ok := rueidis.IsRedisErr(err)
	if !ok {
		return nil, false // a failure of the connection
	}
	text := re.Error()
	for _, passing := range []string{"LOADING", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "MASTERDOWN", "MOVED", "ASK", "UNBLOCKED", "NOSCRIPT"} {
		if strings.HasPrefix(text, passing) {
			return nil, false
		}
	}
	if strings.HasPrefix(text, "OOM") {
		return inbox.ErrServerFull, true
	}
	return unavailable(errors.New(text)), true
}

type shortOfReplicas struct{ have, want int64 }

func (s shortOfReplicas) Error() string {
	return fmt.Sprintf("only %d of %d replicas had the message in time", s.have, s.want)
}

// execAndWait uses a dedicated connection, because WAIT covers the writes of its
// connection.
func (l *link) execAndWait(ctx context.Context, sc *script, keys, args []string) (rep reply, err error) {
	deadline, _ := ctx.Deadline()
	timeout := max(time.Until(deadline)-100*time.Millisecond, 10*time.Millisecond)
	outer := l.Client().Dedicated(func(c rueidis.DedicatedClient) error {
		for _, command := range []rueidis.Completed{
			c.B().Evalsha().Sha1(sc.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build(),
			c.B().Eval().Script(sc.source).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build(),
		} {
			wait := c.B().Wait().Numreplicas(l.waitReplicas).Timeout(timeout.Milliseconds()).Build()
			results := c.DoMulti(ctx, command, wait)
			if rep, err = parseReply(results[0]); err != nil {
				if re, ok := rueidis.IsRedisErr(err); ok && re.IsNoScript() {
					continue
				}
				return nil
			}
			if rep.code != codeOK && rep.code != codeReplayed {
				return nil
			}
			var have int64
			if have, err = results[1].AsInt64(); err == nil && have < l.waitReplicas {
				err = shortOfReplicas{have, l.waitReplicas}
			}
			return nil
		}
		return nil
	})
	return rep, errors.Join(err, outer)
}
