package redislink

// Stats are a server's view of Redis, from the latest probes a few seconds ago.
type Stats struct {
	Parts      int    // number of parts; see [Part]
	Down       int    // parts that are unavailable
	Failovers  uint64 // changes of a primary's replication id: failovers and restarts
	Reconnects uint64 // times that both clients were replaced
	Used       int64  // memory of all primaries, in bytes
	Most       int64  // sum of their maxmemory, in bytes; 0 if one has none
}

// Stats returns the figures of the latest probes. It does not access Redis.
func (l *Link) Stats() Stats {
	st := Stats{
		Parts: len(l.parts), Failovers: l.failovers.Load(), Reconnects: l.reconnects.Load(),
		Used: l.used.Load(), Most: l.most.Load(),
	}
	for i := range l.parts {
		if l.parts[i].down.Load() {
			st.Down++
		}
	}
	return st
}

// note records the figures of a probe. Parts with the same replication id share a
// primary, so it counts only once.
func (l *Link) note(all []answer) {
	seen, changed := make(map[string]bool), make(map[string]bool)
	var used, most int64
	limited, complete := true, true
	for i, a := range all {
		history := a.history
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
		used, most, limited = used+a.used, most+a.most, limited && a.most > 0
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
