package meter

import (
	"net/http"
	"slices"
	"sync/atomic"
)

// A Transport is how a client asks or waits.
type Transport uint8

const (
	HTTP     Transport = iota // a request that is answered at once: a send, a close, a poll that does not wait
	LongPoll                  // a poll that waits
	Stream                    // server-sent events
	Socket                    // a WebSocket: its handshake, and each send on it
	PeerJS                    // a WebSocket of PeerJS, and each message on it

	transportCount // not a transport
)

var transports = [transportCount]string{"http", "long-poll", "stream", "socket", "peerjs"}

// String returns the name, as in metrics.
func (t Transport) String() string { return transports[t] }

// Transports returns every transport.
func Transports() []Transport {
	all := make([]Transport, transportCount)
	for i := range all {
		all[i] = Transport(i)
	}
	return all
}

// codes are the statuses that are counted each. Others count as 500.
var codes = [...]int{
	http.StatusSwitchingProtocols, http.StatusOK, http.StatusNoContent,
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUpgradeRequired, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable,
}

// Codes returns the statuses that are counted each.
func Codes() []int { return codes[:] }

// codeIndex maps a status to its place in codes.
var codeIndex = func() (index [600]uint8) {
	other := uint8(slices.Index(codes[:], http.StatusInternalServerError))
	for status := range index {
		index[status] = other
		if i := slices.Index(codes[:], status); i >= 0 {
			index[status] = uint8(i)
		}
	}
	return index
}()

// A Meter counts what the server does. The zero Meter is ready to use.
type Meter struct {
	// Delivery is the time from a store's accepting a message to its acknowledgement.
	Delivery Histogram

	requests  [transportCount][len(codes)]atomic.Uint64
	receivers [transportCount]atomic.Int64
}

// Request counts a request that was answered with a status of HTTP.
func (m *Meter) Request(t Transport, status int) {
	if m == nil {
		return
	}
	if status < 0 || status >= len(codeIndex) {
		status = http.StatusInternalServerError
	}
	m.requests[t][codeIndex[status]].Add(1)
}

// Requests returns how many requests were answered with one of [Codes].
func (m *Meter) Requests(t Transport, status int) uint64 {
	return m.requests[t][codeIndex[status]].Load()
}

// Receivers returns how many receivers wait.
func (m *Meter) Receivers(t Transport) int64 { return m.receivers[t].Load() }

// A Wait counts one receiver while it waits. The zero Wait is none. It is not safe for
// concurrent use.
type Wait struct {
	count *atomic.Int64
}

// Begin counts a receiver that begins to wait on a transport, unless it does so already.
func (w *Wait) Begin(m *Meter, t Transport) {
	if m != nil && w.count == nil {
		w.count = &m.receivers[t]
		w.count.Add(1)
	}
}

// End counts the receiver no longer, if it was counted.
func (w *Wait) End() {
	if w.count != nil {
		w.count.Add(-1)
		w.count = nil
	}
}
