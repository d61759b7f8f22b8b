package redisstore

import (
	"context"
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
	c := l.clients.Load().commands
	commands := make(rueidis.Commands, len(l.parts))
	for i := range l.parts {
		commands[i] = c.B().Evalsha().Sha1(probeScript.sha).Numkeys(1).Key(l.probeKey(i)).
			Arg("1", l.channel(uint8(i))+l.server).Build()
	}
	for i, r := range c.DoMulti(ctx, commands...) {
		err := r.Error()
		if re, ok := rueidis.IsRedisErr(err); ok && re.IsNoScript() {
			err = probeScript.lua.Exec(ctx, c, []string{l.probeKey(i)}, []string{"1", l.channel(uint8(i)) + l.server}).Error()
		}
		h := &l.parts[i]
		if err == nil {
			h.failing = time.Time{}
			if h.down.Swap(false) {
				l.log.Info("redis is back", "part", i)
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
				l.log.Error("redis is away", "part", i, "error", err)
			}
		}
	}
	return failing, down
}

func (l *link) probeKey(part int) string {
	return l.prefix + "{" + tags()[part] + "}probe:" + l.server
}

// wakeTheDeaf restarts subscriptions over which probes do not come back.
func (l *link) wakeTheDeaf() {
	for i := range l.parts {
		h := &l.parts[i]
		if h.down.Load() || !h.subscribed.Load() || time.Since(time.Unix(0, h.heard.Load())) < deafAfter {
			continue
		}
		l.log.Warn("wakes were not heard", "part", i)
		h.hear() // not again before it had its chance
		if restart := h.restart.Load(); restart != nil {
			(*restart)()
		}
	}
}

// rebuild connects anew, as at the start.
func (l *link) rebuild() {
	c, err := l.connect()
	if err != nil {
		l.log.Warn("redis cannot be reached", "error", err)
		return
	}
	old := l.clients.Swap(c)
	l.closing.Go(old.close) // which waits for what is under way
	l.log.Info("connected to redis anew")
}
