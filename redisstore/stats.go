package redisstore

import "inbox/internal/redislink"

// Stats are a server's view of Redis, as of the last probes a few seconds ago.
type Stats struct {
	redislink.Stats
	Spoiled uint64 // inboxes that another program has overwritten
}

// Stats returns the figures of the last probes. It does not ask Redis.
func (s *Store) Stats() Stats {
	return Stats{Stats: s.Link().Stats(), Spoiled: uint64(s.Spoiled())}
}
