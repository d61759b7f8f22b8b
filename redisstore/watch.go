package redisstore

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const (
	probeEvery   = 3 * time.Second        // when all is well
	probeAgain   = 300 * time.Millisecond // when it is not
	probeTimeout = 1500 * time.Millisecond
	downAfter    = 1200 * time.Millisecond // of failing probes
	deafAfter    = 2*probeEvery - time.Second
	rebuildEvery = 2 * time.Second

	figuresEvery = 5 // probes of a cluster
)

// doubt has the watch look now.
func (l *link) doubt() {
	select {
	case l.doubted <- struct{}{}:
	default:
	}
}

// watch finds out whether Redis can be written to and whether we hear of wakes,
// by trying it, and mends what does not mend itself: a topology that is out of
// date, a primary that became a replica, a subscription that is dead.
func (l *link) watch(ctx context.Context) {
	rebuilt := time.Now()
	for {
		failing, down := l.probe(ctx)
		l.wakeTheDeaf()
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
			select { // not more often, however many are in doubt
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

// probe writes to every part, and says something over its channel.
func (l *link) probe(ctx context.Context) (failing, down bool) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answers := make(chan []answer, 1)
	// A primary of a cluster answers for many parts, and need not tell its figures each time.
	figures := !l.cluster || l.probes%figuresEvery == 0
	l.probes++
	go func() { answers <- l.probeAll(ctx, figures) }() // which may take longer, to connect
	var all []answer
	select {
	case all = <-answers:
	case <-ctx.Done():
		all = slices.Repeat([]answer{{err: errTooLong}}, len(l.parts))
	}
	came := l.ours(time.Now())
	if figures {
		l.note(all)
	}
	var lost, back int
	var why error
	for i, a := range all {
		h := &l.parts[i]
		if a.err == nil {
			h.tell(a.reply, came)
			h.doubtful.Store(false)
			h.failing = time.Time{}
			if h.down.Swap(false) {
				back++
				l.requestSweep(h)
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
		l.log.Error("redis is away", "parts", lost, "of", len(l.parts), "error", why)
	}
	if back > 0 {
		l.log.Info("redis is back", "parts", back, "of", len(l.parts))
	}
	return failing, down
}

type answer struct {
	reply
	err error
}

func (l *link) probeAll(ctx context.Context, figures bool) []answer {
	c := l.clients.Load().commands
	commands := make(rueidis.Commands, len(l.parts))
	for i := range l.parts {
		commands[i] = c.B().Evalsha().Sha1(probeScript.sha).Numkeys(1).Key(l.probeKey(i)).Arg(l.probeArgs(i, figures)...).Build()
	}
	all := make([]answer, len(l.parts))
	for i, r := range c.DoMulti(ctx, commands...) {
		if re, ok := rueidis.IsRedisErr(r.Error()); ok && re.IsNoScript() {
			r = probeScript.lua.Exec(ctx, c, []string{l.probeKey(i)}, l.probeArgs(i, figures))
		}
		all[i].reply, all[i].err = parseReply(r)
	}
	return all
}

// probeArgs are those of probe.lua, which is never late.
func (l *link) probeArgs(part int, figures bool) []string {
	asked := "0"
	if figures {
		asked = "1"
	}
	return []string{l.channel(uint8(part)) + l.server, asked, strconv.Itoa(biggest)}
}

func (l *link) probeKey(part int) string {
	return l.prefix + "{" + tags()[part] + "}probe:" + l.server
}

// wakeTheDeaf restarts subscriptions over which probes do not come back.
func (l *link) wakeTheDeaf() {
	deaf := 0
	for i := range l.parts {
		h := &l.parts[i]
		if h.down.Load() || !h.subscribed.Load() || time.Since(time.Unix(0, h.heard.Load())) < deafAfter {
			continue
		}
		deaf++
		h.hear() // not again before it had its chance
		if restart := h.restart.Load(); restart != nil {
			(*restart)()
		}
	}
	if deaf > 0 {
		l.log.Warn("wakes were not heard", "parts", deaf, "of", len(l.parts))
	}
}

// rebuild connects anew, as at the start.
func (l *link) rebuild() {
	c, err := l.connect()
	if err != nil {
		l.log.Warn("redis cannot be reached", "error", err)
		return
	}
	l.reconnects.Add(1)
	old := l.clients.Swap(c)
	l.closing.Go(old.close) // which waits for what is under way
	l.log.Info("connected to redis anew")
}
