package main

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"

	"inbox/internal/acme"
	"inbox/internal/flight"
	"inbox/internal/meter"
	family "inbox/internal/metrics"
	"inbox/internal/outcome"
	"inbox/internal/relay"
	"inbox/internal/server"
	"inbox/memstore"
	"inbox/peerjs"
	"inbox/redisstore"
)

// What each part of the server shows. docs/operations.md has a table of all metrics, which
// a test compares with these. To show more, add a family here, or a function that returns
// some and a call of watched.add beside the others in serve.go.

// emitter shows a value under its labels.
type emitter = func(value float64, labels ...string)

func trafficFamilies(m *meter.Meter, r *meter.Refusals) []family.Family {
	return []family.Family{
		family.Gauges("inbox_receivers", "Receivers that wait at this server.", []string{"transport"}, func(emit emitter) {
			for _, t := range meter.Transports() {
				if t != meter.HTTP { // which does not wait
					emit(float64(m.Receivers(t)), t.String())
				}
			}
		}),
		family.Counters("inbox_requests_total", "Requests, and messages on sockets, by the status that they were answered with.", []string{"transport", "code"}, func(emit emitter) {
			for _, t := range meter.Transports() {
				for _, code := range meter.Codes() {
					if n := m.Requests(t, code); n > 0 || code == 200 {
						emit(float64(n), t.String(), strconv.Itoa(code))
					}
				}
			}
		}),
		family.Counters("inbox_refused_total", "What was refused, by the reason.", []string{"reason"}, func(emit emitter) {
			for _, why := range meter.Reasons() {
				emit(float64(r.Count(why)), why.String())
			}
		}),
		family.Histogram("inbox_delivery_seconds", "Time from a message's acceptance to its acknowledgement.", &m.Delivery),
	}
}

func memoryFamilies(s *memstore.Store, most int64, mostInboxes int) []family.Family {
	return []family.Family{
		family.Gauge("inbox_inboxes", "Inboxes that exist.", func() float64 { n, _ := s.Usage(); return float64(n) }),
		family.Gauge("inbox_inboxes_limit", "Inboxes that may exist (--max-inboxes).", func() float64 { return float64(mostInboxes) }),
		family.Gauge("inbox_messages", "Messages in all inboxes.", func() float64 { n, _ := s.Held(); return float64(n) }),
		family.Gauge("inbox_messages_bytes", "Bytes of the bodies of these messages.", func() float64 { _, n := s.Held(); return float64(n) }),
		family.Gauge("inbox_memory_bytes", "Memory that inboxes take with all that is in them.", func() float64 { _, n := s.Usage(); return float64(n) }),
		family.Gauge("inbox_memory_limit_bytes", "Memory that inboxes may take (--max-memory).", func() float64 { return float64(most) }),
	}
}

func redisFamilies(s *redisstore.Store, trips *meter.Histogram) []family.Family {
	stat := func(read func(redisstore.Stats) float64) func() float64 {
		return func() float64 { return read(s.Stats()) }
	}
	return []family.Family{
		family.Histogram("inbox_redis_round_trip_seconds", "Time that Redis took to run a script, from the call to the answer.", trips),
		family.Gauge("inbox_redis_parts", "Parts that the inboxes in Redis are in.", stat(func(st redisstore.Stats) float64 { return float64(st.Parts) })),
		family.Gauge("inbox_redis_parts_down", "Parts that cannot be written to.", stat(func(st redisstore.Stats) float64 { return float64(st.Down) })),
		family.Counter("inbox_redis_failovers_total", "Takeovers by a replica, and restarts of a primary.", stat(func(st redisstore.Stats) float64 { return float64(st.Failovers) })),
		family.Counter("inbox_redis_reconnects_total", "Times that all connections to Redis were replaced.", stat(func(st redisstore.Stats) float64 { return float64(st.Reconnects) })),
		family.Counter("inbox_redis_spoiled_total", "Inboxes that were removed because another program had overwritten them.", stat(func(st redisstore.Stats) float64 { return float64(st.Spoiled) })),
		family.Gauge("inbox_redis_memory_bytes", "Memory that all primaries use.", stat(func(st redisstore.Stats) float64 { return float64(st.Used) })),
		family.Gauge("inbox_redis_memory_limit_bytes", "Memory that all primaries may use (maxmemory); 0 if one has no limit.", stat(func(st redisstore.Stats) float64 { return float64(st.Most) })),
	}
}

// serverFamilies are of everything that all protocols share.
func serverFamilies(s *server.Server, inFlight *flight.Budget, ready func() bool) []family.Family {
	return []family.Family{
		family.Gauge("inbox_ready", "1 while the server can use the inboxes and does not stop, else 0.", func() float64 {
			if ready() {
				return 1
			}
			return 0
		}),
		family.Gauge("inbox_connections", "Connections that are open.", func() float64 { open, _ := s.Connections(); return float64(open) }),
		family.Gauge("inbox_connections_parked", "Those of them that wait without a goroutine.", func() float64 { return float64(s.Lot.Len()) }),
		family.Counter("inbox_connections_accepted_total", "Connections that were accepted.", func() float64 { _, accepted := s.Connections(); return float64(accepted) }),
		family.Gauge("inbox_in_flight_bytes", "Bytes of bodies and answers on their way.", func() float64 { return float64(inFlight.Used()) }),
		family.Gauge("inbox_in_flight_limit_bytes", "Bytes that may be on their way (--max-in-flight).", func() float64 { return float64(inFlight.Limit()) }),
		family.Gauge("inbox_process_memory_bytes", "Memory that the program has from the system.", processMemory),
		family.Gauge("inbox_process_memory_limit_bytes", "Memory beyond which it collects garbage all the time (GOMEMLIMIT); 0 without one.", func() float64 {
			if most := debug.SetMemoryLimit(-1); most != math.MaxInt64 {
				return float64(most)
			}
			return 0
		}),
	}
}

// processMemory is what GOMEMLIMIT counts.
func processMemory() float64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return float64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

func peerFamilies(p *peerjs.Handler) []family.Family {
	if p == nil {
		return nil
	}
	return []family.Family{
		family.Gauge("inbox_peerjs_held_bytes", "Memory of messages to PeerJS peers that are not there yet.", func() float64 { return float64(p.Held()) }),
		family.Gauge("inbox_peerjs_held_limit_bytes", "Memory that these messages may take.", func() float64 { return float64(p.MaxHeld) }),
	}
}

// certificateFamilies number the certificates: their names stay in the configuration.
func certificateFamilies(expiries func() []acme.Certificate) []family.Family {
	if expiries == nil {
		return nil
	}
	each := func(read func(acme.Certificate) float64) func(emitter) {
		return func(emit emitter) {
			for i, cert := range expiries() {
				emit(read(cert), strconv.Itoa(i+1))
			}
		}
	}
	labels := []string{"certificate"}
	return []family.Family{
		family.Gauges("inbox_certificate_expiry_timestamp_seconds", "When each certificate ends; 0 if there is none yet.", labels, each(func(cert acme.Certificate) float64 {
			if cert.NotAfter.IsZero() {
				return 0
			}
			return float64(cert.NotAfter.Unix())
		})),
		family.Gauges("inbox_certificate_failed_timestamp_seconds", "When the last attempt to get or read each certificate failed; 0 if it has worked since.", labels, each(func(cert acme.Certificate) float64 {
			if cert.Failed.IsZero() {
				return 0
			}
			return float64(cert.Failed.Unix())
		})),
	}
}

func outcomeFamilies(c *outcome.Counts) []family.Family {
	if c == nil {
		return nil
	}
	words := func(field string) func(emitter) {
		return func(emit emitter) {
			c.Words(field, func(word string, n int64) { emit(float64(n), word) })
		}
	}
	return []family.Family{
		family.Counters("inbox_ice_outcomes_total", "Calls that clients have reported, by how they went.", []string{"result", "path"}, func(emit emitter) {
			c.Calls(func(result, path string, n int64) { emit(float64(n), result, path) })
		}),
		family.Counters("inbox_ice_transports_total", "Calls that connected, by transport.", []string{"transport"}, words(outcome.Transport)),
		family.Counters("inbox_ice_families_total", "Calls that connected, by the family of their addresses.", []string{"family"}, words(outcome.Family)),
		family.Counters("inbox_ice_failures_total", "Calls that did not connect, by cause.", []string{"cause"}, words(outcome.Cause)),
		family.Classic("inbox_ice_connect_seconds", "Time from the answer to a call until it connected.", func() (b family.Buckets) {
			counts, sum := c.Times()
			for _, bound := range outcome.Bounds {
				b.Bounds = append(b.Bounds, bound.Seconds())
			}
			for _, n := range counts {
				b.Counts = append(b.Counts, uint64(n))
			}
			b.Sum = sum.Seconds()
			return b
		}),
	}
}

func relayFamilies(s *relay.Server) []family.Family {
	if s == nil {
		return nil
	}
	f := &s.Figures
	read := func(n *atomic.Int64) func() float64 { return func() float64 { return float64(n.Load()) } }
	type part struct {
		name string
		n    *atomic.Int64
	}
	parts := func(all ...part) func(emitter) {
		return func(emit emitter) {
			for _, p := range all {
				emit(float64(p.n.Load()), p.name)
			}
		}
	}
	reason := []string{"reason"}
	return []family.Family{
		family.Gauge("inbox_turn_allocations", "Allocations of the relay that exist.", read(&f.Allocations)),
		family.Counter("inbox_turn_opened_total", "Allocations that were made.", read(&f.Allocated)),
		family.Gauge("inbox_turn_connections", "Connections to the relay over TCP and TLS.", read(&f.Connections)),
		family.Counter("inbox_turn_packets_total", "Packets that were relayed.", read(&f.Packets)),
		family.Counter("inbox_turn_bytes_total", "Bytes of their payload.", read(&f.Bytes)),
		family.Counters("inbox_turn_dropped_packets_total", "Packets that were dropped.", reason, parts(
			part{"queue", &f.DroppedQueue}, part{"rate", &f.DroppedRate}, part{"total-rate", &f.DroppedTotal}, part{"peer", &f.DroppedPeer}, part{"source", &f.DroppedSource})),
		family.Counters("inbox_turn_refused_total", "Requests to the relay that were refused.", reason, parts(
			part{"realm", &f.RefusedRealm}, part{"name", &f.RefusedName}, part{"expired", &f.RefusedExpired}, part{"password", &f.RefusedPassword},
			part{"quota", &f.RefusedQuota}, part{"address", &f.RefusedAddress}, part{"peer", &f.RefusedPeer})),
		family.Counters("inbox_turn_ended_total", "Allocations that the relay has ended.", reason, parts(part{"idle", &f.EndedIdle}, part{"greed", &f.EndedGreed})),
	}
}
