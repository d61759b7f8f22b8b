package redislink

// Stats are a server's view of Redis, as of the last probes a few seconds ago.
type Stats struct {
	Parts      int    // that Redis is in, see [Part]
	Down       int    // that cannot be written to
	Failovers  uint64 // a replica took over, or a primary has restarted
	Reconnects uint64 // both clients were replaced
	Used       int64  // bytes of memory of all primaries together
	Most       int64  // the sum of their maxmemory; 0 if one has none
}

// Stats returns the figures of the last probes. It does not ask Redis.
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

// note records the figures of a probe. A primary of a cluster answers for many parts; the
// history of its writes identifies it.
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
