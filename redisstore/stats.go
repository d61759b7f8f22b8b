package redisstore

import "inbox/internal/redislink"

// Stats are a server's view of Redis, from the latest probes a few seconds ago.
type Stats struct {
	redislink.Stats
	Spoiled uint64 // inboxes or keys that another program has overwritten
}

// Stats returns the figures of the latest probes. It does not access Redis.
func (s *Store) Stats() Stats {
	return Stats{Stats: s.Link().Stats(), Spoiled: uint64(s.Spoiled())}
}
