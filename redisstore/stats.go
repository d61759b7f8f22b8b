package redisstore

import "strconv"

// Stats are what a server knows of Redis, as its probes found out a few seconds ago.
type Stats struct {
	Parts      int    // that the inboxes are in
	Down       int    // that cannot be written to
	Failovers  uint64 // a replica took over, or a primary has started again
	Reconnects uint64 // all connections were replaced
	Spoiled    uint64 // inboxes that another program has overwritten
	Used       int64  // bytes of memory of all primaries together
	Most       int64  // the same of their maxmemory; 0 if one has none
}

// Stats returns what is known of Redis. It asks nobody.
func (s *Store) Stats() Stats {
	st := Stats{
		Parts: len(s.parts), Failovers: s.failovers.Load(), Reconnects: s.reconnects.Load(), Spoiled: uint64(s.Spoiled()),
		Used: s.used.Load(), Most: s.most.Load(),
	}
	for i := range s.parts {
		if s.parts[i].down.Load() {
			st.Down++
		}
	}
	return st
}

// note takes what probes tell of the primaries. A primary answers for many parts of a
// cluster, and is known by the history of its writes.
func (l *link) note(all []answer) {
	seen, changed := make(map[string]bool), make(map[string]bool)
	var used, most int64
	limited, complete := true, true
	for i, a := range all {
		history := a.text(2)
		if a.err != nil || history == "" {
			complete = false
			continue
		}
		part := &l.parts[i]
		if part.history != "" && part.history != history {
			changed[history] = true
		}
		part.history = history
		if seen[history] {
			continue
		}
		seen[history] = true
		u, _ := strconv.ParseInt(a.text(3), 10, 64)
		m, _ := strconv.ParseInt(a.text(4), 10, 64)
		used, most, limited = used+u, most+m, limited && m > 0
	}
	l.failovers.Add(uint64(len(changed)))
	if !complete {
		return
	}
	if !limited {
		most = 0
	}
	l.used.Store(used)
	l.most.Store(most)
}
