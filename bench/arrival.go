package main

import (
	"errors"
	"slices"
	"time"
)

// hops is the number of exchanges with a trivial server that wake processes as often as
// one message through two servers and Redis.
const hops = 4

// arrivals measures the time from the first byte of a send at one server to the last byte
// of the response to a peer waiting at another. Messages are sent one after the other, so
// that no core is busy. Interleaved with these, it measures the same with one server in
// memory, and as many trivial exchanges.
//
// On a busy machine, most of that time is spent waiting for a core and says nothing about
// the servers. The goal therefore only applies if the trivial exchanges take at most a
// quarter of it.
func (c *redisCommand) arrivals(e *env, redis *redisServer, servers []*process) error {
	e.say("redis: %d messages from one server to the other", c.Samples)
	across, err := newArrival(e, servers[0], servers[1])
	if err != nil {
		return err
	}
	defer across.close()
	within, err := newArrival(e, servers[2], servers[2])
	if err != nil {
		return err
	}
	defer within.close()
	nothing, err := newHopper(e)
	if err != nil {
		return err
	}
	defer nothing.close()

	used := func() (byServers, byRedis time.Duration) {
		byRedis, _ = cpuOf(redis.cmd.Process.Pid)
		return cpuOfAll(servers[:2]...), byRedis
	}
	serversBefore, redisBefore := used()
	begin := time.Now()
	kinds := []interface {
		measure() (time.Duration, error)
	}{across, within, nothing}
	took := make([][]time.Duration, len(kinds))
	for range c.Samples {
		for i, kind := range kinds {
			d, err := kind.measure()
			if err != nil {
				return err
			}
			took[i] = append(took[i], d)
		}
	}
	share := func(cpu time.Duration) float64 { return 100 * float64(cpu) / float64(time.Since(begin)) }
	byServers, byRedis := used()
	e.report.note("With %.0f messages per second from one server to the other, the servers used %.0f %% of a core and Redis used %.0f %%.",
		float64(c.Samples)/time.Since(begin).Seconds(), share(byServers-serversBefore), share(byRedis-redisBefore))

	for i := range took {
		slices.Sort(took[i])
	}
	var floors []row
	const group = "redis: send at one server to arrival at the other"
	for _, q := range []struct {
		what string
		part float64
		goal float64
	}{{"median", 0.5, 1}, {"90 %", 0.9, 0}, {"99 %", 0.99, 10}} {
		at := func(i int) float64 {
			return float64(took[i][int(q.part*float64(len(took[i])))].Microseconds()) / 1000
		}
		r := row{Group: group, What: q.what, Unit: "ms", Measured: at(0), Against: "one server, memory", Baseline: at(1), Ratio: at(0) / at(1)}
		floor := row{Group: group + ", against the machine", What: q.what, Unit: "ms", Measured: at(0), Against: "trivial exchanges", Baseline: at(2), Ratio: at(0) / at(2)}
		switch {
		case q.goal == 0:
		case at(2) <= q.goal/4:
			r.Goal = &q.goal
		default:
			floor.Note = "the machine is too busy for the goal to apply"
		}
		e.report.add(r)
		floors = append(floors, floor)
	}
	for _, floor := range floors {
		e.report.add(floor)
	}
	return nil
}

// cpuOfAll adds up CPU times. Processes that have ended count as 0; other checks detect
// them.
func cpuOfAll(all ...*process) (sum time.Duration) {
	for _, p := range all {
		cpu, _ := p.cpu()
		sum += cpu
	}
	return sum
}

// arrival is a sending peer at one server and a waiting peer at another.
type arrival struct{ sends, waits *cycler }

func newArrival(e *env, at, other *process) (*arrival, error) {
	sends, err := dialCycler(e, at, 0, true, 1024, 10*time.Minute)
	if err != nil {
		return nil, err
	}
	waits, err := dialCycler(e, other, 1, true, 1024, 10*time.Minute)
	if err != nil {
		sends.Close()
		return nil, err
	}
	a := &arrival{sends, waits}
	waits.to, waits.get, waits.cursor = sends.to, sends.get, sends.cursor
	if err := waits.open(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *arrival) close() { a.sends.Close(); a.waits.Close() }

func (a *arrival) measure() (took time.Duration, err error) {
	if _, err := a.waits.Write(a.waits.get); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Millisecond) // until the poll waits
	begin := time.Now()
	if _, err := a.sends.Write(a.sends.post); err != nil {
		return 0, err
	}
	got, err := a.waits.read()
	if err != nil {
		return 0, err
	}
	took = time.Since(begin)
	if got.status != 200 {
		return 0, unexpected(got)
	}
	if err := a.waits.keep(got); err != nil {
		return 0, err
	}
	if sent, err := a.sends.read(); err != nil || sent.status != 200 {
		return 0, errors.Join(err, unexpected(sent))
	}
	return took, nil
}

// hopper exchanges requests with a server that does nothing.
type hopper struct {
	*cycler
	bare *process
}

func newHopper(e *env) (*hopper, error) {
	bare, err := e.bare("bare-handler")
	if err != nil {
		return nil, err
	}
	cy, err := dialCycler(e, bare, 2, false, 1024, 10*time.Minute)
	if err == nil {
		err = (&bareAnswers{}).prepare(cy.conn)
	}
	if err != nil {
		bare.stop()
		return nil, err
	}
	return &hopper{cy, bare}, nil
}

func (h *hopper) close() { h.Close(); h.bare.stop() }

func (h *hopper) measure() (time.Duration, error) {
	begin := time.Now()
	for range hops {
		if _, err := h.must(h.post, 200); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}
