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

// The metric families of each part of the server. docs/operations.md lists all metrics,
// and a test compares the two. To add a metric, add a family here, or write a function
// that returns families and pass it to watched.add in serve.go.

// emitter reports a value with its labels.
type emitter = func(value float64, labels ...string)

func trafficFamilies(m *meter.Meter, r *meter.Refusals) []family.Family {
	return []family.Family{
		family.Gauges("inbox_receivers", "Receivers waiting at this server.", []string{"transport"}, func(emit emitter) {
			for _, t := range meter.Transports() {
				if t != meter.HTTP { // plain requests do not wait
					emit(float64(m.Receivers(t)), t.String())
				}
			}
		}),
		family.Counters("inbox_requests_total", "Requests and socket messages, by response status.", []string{"transport", "code"}, func(emit emitter) {
			for _, t := range meter.Transports() {
				for _, code := range meter.Codes() {
					if n := m.Requests(t, code); n > 0 || code == 200 {
						emit(float64(n), t.String(), strconv.Itoa(code))
					}
				}
			}
		}),
		family.Counters("inbox_refused_total", "Refusals by reason.", []string{"reason"}, func(emit emitter) {
			for _, why := range meter.Reasons() {
				emit(float64(r.Count(why)), why.String())
			}
		}),
		family.Histogram("inbox_delivery_seconds", "Time from accepting a message to its acknowledgement.", &m.Delivery),
	}
}

func memoryFamilies(s *memstore.Store, most int64, mostInboxes int) []family.Family {
	return []family.Family{
		family.Gauge("inbox_inboxes", "Existing inboxes.", func() float64 { n, _ := s.Usage(); return float64(n) }),
		family.Gauge("inbox_inboxes_limit", "Limit of inboxes (--max-inboxes).", func() float64 { return float64(mostInboxes) }),
		family.Gauge("inbox_messages", "Messages in all inboxes.", func() float64 { n, _ := s.Held(); return float64(n) }),
		family.Gauge("inbox_messages_bytes", "Bytes of message bodies in all inboxes.", func() float64 { _, n := s.Held(); return float64(n) }),
		family.Gauge("inbox_memory_bytes", "Memory used by inboxes and their contents.", func() float64 { _, n := s.Usage(); return float64(n) }),
		family.Gauge("inbox_memory_limit_bytes", "Limit of memory used by inboxes (--max-memory).", func() float64 { return float64(most) }),
	}
}

func redisFamilies(s *redisstore.Store, trips *meter.Histogram) []family.Family {
	stat := func(read func(redisstore.Stats) float64) func() float64 {
		return func() float64 { return read(s.Stats()) }
	}
	return []family.Family{
		family.Histogram("inbox_redis_round_trip_seconds", "Time from calling a Redis script to its reply.", trips),
		family.Gauge("inbox_redis_parts", "Partitions of the inboxes in Redis.", stat(func(st redisstore.Stats) float64 { return float64(st.Parts) })),
		family.Gauge("inbox_redis_parts_down", "Partitions that are not writable.", stat(func(st redisstore.Stats) float64 { return float64(st.Down) })),
		family.Counter("inbox_redis_failovers_total", "Failovers to a replica and restarts of a primary.", stat(func(st redisstore.Stats) float64 { return float64(st.Failovers) })),
		family.Counter("inbox_redis_reconnects_total", "Times that all connections to Redis were replaced.", stat(func(st redisstore.Stats) float64 { return float64(st.Reconnects) })),
		family.Counter("inbox_redis_spoiled_total", "Inboxes removed because another program had overwritten them.", stat(func(st redisstore.Stats) float64 { return float64(st.Spoiled) })),
		family.Gauge("inbox_redis_memory_bytes", "Memory used by all primaries.", stat(func(st redisstore.Stats) float64 { return float64(st.Used) })),
		family.Gauge("inbox_redis_memory_limit_bytes", "Memory limit of all primaries (maxmemory); 0 if one has no limit.", stat(func(st redisstore.Stats) float64 { return float64(st.Most) })),
	}
}

// serverFamilies describes what all protocols share.
func serverFamilies(s *server.Server, inFlight *flight.Budget, ready func() bool) []family.Family {
	return []family.Family{
		family.Gauge("inbox_ready", "1 while the server can serve inboxes and is not stopping, else 0.", func() float64 {
			if ready() {
				return 1
			}
			return 0
		}),
		family.Gauge("inbox_connections", "Open connections.", func() float64 { open, _ := s.Connections(); return float64(open) }),
		family.Gauge("inbox_connections_parked", "Open connections that wait without a goroutine.", func() float64 { return float64(s.Lot.Len()) }),
		family.Counter("inbox_connections_accepted_total", "Connections accepted.", func() float64 { _, accepted := s.Connections(); return float64(accepted) }),
		family.Gauge("inbox_in_flight_bytes", "Bytes of bodies and responses in flight.", func() float64 { return float64(inFlight.Used()) }),
		family.Gauge("inbox_in_flight_limit_bytes", "Limit of bytes in flight (--max-in-flight).", func() float64 { return float64(inFlight.Limit()) }),
		family.Gauge("inbox_process_memory_bytes", "Memory that the process has from the system.", processMemory),
		family.Gauge("inbox_process_memory_limit_bytes", "Memory above which Go collects garbage continuously (GOMEMLIMIT); 0 if unset.", func() float64 {
			if most := debug.SetMemoryLimit(-1); most != math.MaxInt64 {
				return float64(most)
			}
			return 0
		}),
	}
}

// processMemory returns the memory that counts against GOMEMLIMIT.
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
		family.Gauge("inbox_peerjs_held_bytes", "Memory of messages to PeerJS peers that are not connected yet.", func() float64 { return float64(p.Held()) }),
		family.Gauge("inbox_peerjs_held_limit_bytes", "Limit of memory for these messages.", func() float64 { return float64(p.MaxHeld) }),
	}
}

// certificateFamilies numbers the certificates, so that metrics do not reveal names.
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
		family.Gauges("inbox_certificate_expiry_timestamp_seconds", "When each certificate expires; 0 before the first is issued.", labels, each(func(cert acme.Certificate) float64 {
			if cert.NotAfter.IsZero() {
				return 0
			}
			return float64(cert.NotAfter.Unix())
		})),
		family.Gauges("inbox_certificate_failed_timestamp_seconds", "When obtaining or reading each certificate last failed; 0 if it has succeeded since.", labels, each(func(cert acme.Certificate) float64 {
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
		family.Counters("inbox_ice_outcomes_total", "Reported calls, by result and path.", []string{"result", "path"}, func(emit emitter) {
			c.Calls(func(result, path string, n int64) { emit(float64(n), result, path) })
		}),
		family.Counters("inbox_ice_transports_total", "Connected calls, by transport.", []string{"transport"}, words(outcome.Transport)),
		family.Counters("inbox_ice_families_total", "Connected calls, by address family.", []string{"family"}, words(outcome.Family)),
		family.Counters("inbox_ice_failures_total", "Failed calls, by cause.", []string{"cause"}, words(outcome.Cause)),
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
		family.Gauge("inbox_turn_allocations", "Allocations on the relay.", read(&f.Allocations)),
		family.Counter("inbox_turn_opened_total", "Allocations made.", read(&f.Allocated)),
		family.Gauge("inbox_turn_connections", "TCP and TLS connections to the relay.", read(&f.Connections)),
		family.Counter("inbox_turn_packets_total", "Packets relayed.", read(&f.Packets)),
		family.Counter("inbox_turn_bytes_total", "Bytes of payload relayed.", read(&f.Bytes)),
		family.Counters("inbox_turn_dropped_packets_total", "Packets dropped.", reason, parts(
			part{"queue", &f.DroppedQueue}, part{"rate", &f.DroppedRate}, part{"total-rate", &f.DroppedTotal}, part{"peer", &f.DroppedPeer}, part{"source", &f.DroppedSource})),
		family.Counters("inbox_turn_refused_total", "Requests that the relay refused.", reason, parts(
			part{"realm", &f.RefusedRealm}, part{"name", &f.RefusedName}, part{"expired", &f.RefusedExpired}, part{"password", &f.RefusedPassword},
			part{"quota", &f.RefusedQuota}, part{"address", &f.RefusedAddress}, part{"peer", &f.RefusedPeer})),
		family.Counters("inbox_turn_ended_total", "Allocations that the relay ended.", reason, parts(part{"idle", &f.EndedIdle}, part{"greed", &f.EndedGreed})),
	}
}
