package redislink

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const (
	probeEvery   = 3 * time.Second        // while Redis is available
	probeAgain   = 300 * time.Millisecond // during a failure
	probeTimeout = 1500 * time.Millisecond
	downAfter    = 1200 * time.Millisecond // after the first failed probe
	deafAfter    = 2*probeEvery - time.Second
	rebuildEvery = 2 * time.Second

	figuresEvery = 5 // in a cluster, every fifth probe fetches memory figures
)

// probeMessage is the message that a probe publishes.
const probeMessage = "p"

//go:embed probe.lua
var probeBody string

// The probe must also run when memory is short. Redis names a script by its SHA-1.
var (
	probeSource = "#!lua flags=allow-oom\n" + probeBody
	probeScript = rueidis.NewLuaScript(probeSource)
	probeSHA    = fmt.Sprintf("%x", sha1.Sum([]byte(probeSource)))
)

// ErrTimeout means that Redis did not answer in time.
var ErrTimeout = errors.New("redis did not answer in time")

// Doubt triggers a probe soon, without waiting for the next interval.
func (l *Link) Doubt() {
	select {
	case l.doubted <- struct{}{}:
	default:
	}
}

// watch probes whether Redis is writable and whether messages arrive. It repairs what
// does not recover by itself: an outdated topology, a primary that became a replica, a
// dead subscription.
func (l *Link) watch(ctx context.Context) {
	rebuilt := time.Now()
	for {
		failing, down := l.probe(ctx)
		l.restartDeaf()
		if down && time.Since(rebuilt) > rebuildEvery {
			l.rebuild()
			rebuilt = time.Now()
		}
		pause := probeEvery
		if failing {
			pause = probeAgain
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.doubted:
			timer.Stop()
			select { // bound the rate, however many operations are in doubt
			case <-time.After(probeAgain):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// probe writes to every part, and publishes a message to this server on each part's
// channel.
func (l *Link) probe(ctx context.Context) (failing, down bool) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answers := make(chan []answer, 1)
	// A primary of a cluster answers for many parts, so only some probes fetch its
	// figures.
	figures := !l.cluster || l.probes%figuresEvery == 0
	l.probes++
	go func() { answers <- l.probeAll(ctx, figures) }() // may outlast ctx while it connects
	var all []answer
	select {
	case all = <-answers:
	case <-ctx.Done():
		all = slices.Repeat([]answer{{err: ErrTimeout}}, len(l.parts))
	}
	came := l.Clock(time.Now())
	if figures {
		l.note(all)
	}
	var lost, back int
	var why error
	for i, a := range all {
		h := &l.parts[i]
		if a.err == nil {
			h.Observe(a.now, came)
			h.doubtful.Store(false)
			h.failing = time.Time{}
			if h.down.Swap(false) {
				back++
				l.resumed(i)
			}
			continue
		}
		failing = true
		if h.failing.IsZero() {
			h.failing = begin
		}
		if time.Since(h.failing) > downAfter {
			down = true
			if !h.down.Swap(true) {
				lost, why = lost+1, a.err
			}
		}
	}
	if lost > 0 {
		l.log.Error("redis is unavailable", "parts", lost, "of", len(l.parts), "error", why)
	}
	if back > 0 {
		l.log.Info("redis is available again", "parts", back, "of", len(l.parts))
	}
	return failing, down
}

// An answer is the reply of probe.lua from one part.
type answer struct {
	now        int64  // Redis's clock in microseconds
	history    string // replication id; "" unless the probe fetched figures
	used, most int64  // bytes
	err        error
}

func (l *Link) probeAll(ctx context.Context, figures bool) []answer {
	c := l.Client()
	commands := make(rueidis.Commands, len(l.parts))
	for i := range l.parts {
		commands[i] = c.B().Evalsha().Sha1(probeSHA).Numkeys(1).Key(l.probeKey(i)).Arg(l.probeArgs(i, figures)...).Build()
	}
	all := make([]answer, len(l.parts))
	for i, r := range c.DoMulti(ctx, commands...) {
		if re, ok := rueidis.IsRedisErr(r.Error()); ok && re.IsNoScript() {
			r = probeScript.Exec(ctx, c, []string{l.probeKey(i)}, l.probeArgs(i, figures))
		}
		all[i] = parseAnswer(r)
	}
	return all
}

func parseAnswer(r rueidis.RedisResult) (a answer) {
	var fields []rueidis.RedisMessage
	if fields, a.err = r.ToArray(); a.err != nil {
		return a
	}
	if len(fields) != 1 && len(fields) != 4 {
		return answer{err: errReply}
	}
	if a.now, a.err = fields[0].AsInt64(); a.err != nil || len(fields) == 1 {
		return a
	}
	a.history, _ = fields[1].ToString()
	used, _ := fields[2].ToString()
	most, _ := fields[3].ToString()
	a.used, _ = strconv.ParseInt(used, 10, 64)
	a.most, _ = strconv.ParseInt(most, 10, 64)
	return a
}

var errReply = errors.New("unexpected reply of redis to a probe")

func (l *Link) probeArgs(part int, figures bool) []string {
	asked := "0"
	if figures {
		asked = "1"
	}
	return []string{l.Channel(uint8(part)) + l.server, asked}
}

func (l *Link) probeKey(part int) string {
	return l.prefix + "{" + Tag(uint8(part)) + "}probe:" + l.server
}

// Load loads the probe script into one Redis server.
func Load(ctx context.Context, node rueidis.Client) error {
	return node.Do(ctx, node.B().ScriptLoad().Script(probeSource).Build()).Error()
}

// Try probes the first part. An error reply from Redis means that the user lacks a
// permission.
func (l *Link) Try(ctx context.Context) error {
	return probeScript.Exec(ctx, l.Client(), []string{l.probeKey(0)}, l.probeArgs(0, true)).Error()
}

// restartDeaf restarts the subscriptions on which probe messages do not arrive.
func (l *Link) restartDeaf() {
	deaf := 0
	for i := range l.parts {
		h := &l.parts[i]
		if h.down.Load() || !h.subscribed.Load() || time.Since(time.Unix(0, h.heard.Load())) < deafAfter {
			continue
		}
		deaf++
		h.hear() // gives it time to subscribe
		if restart := h.restart.Load(); restart != nil {
			(*restart)()
		}
	}
	if deaf > 0 {
		l.log.Warn("restarted subscriptions that received nothing", "parts", deaf, "of", len(l.parts))
	}
}

// rebuild replaces both clients.
func (l *Link) rebuild() {
	c, err := l.connect()
	if err != nil {
		l.log.Warn("redis cannot be reached", "error", err)
		return
	}
	l.reconnects.Add(1)
	old := l.clients.Swap(c)
	l.closing.Go(old.close) // waits for pending calls
	l.log.Info("reconnected to redis")
}
