package meter

import (
	"net/http"
	"slices"
	"sync/atomic"
)

// A Transport is the way in which a client sends requests or waits.
type Transport uint8

const (
	HTTP     Transport = iota // requests answered immediately: sends, closes, polls that do not wait
	LongPoll                  // polls that wait
	Stream                    // server-sent events
	Socket                    // WebSockets: handshakes, and sends over them
	PeerJS                    // PeerJS WebSockets: handshakes, and messages over them
	YWebRTC                   // y-webrtc WebSockets: handshakes, and publications over them
	Trystero                  // Trystero WebSockets: handshakes, and publications over them
	Tracker                   // WebSockets of the WebTorrent tracker: handshakes, and announces over them

	transportCount // number of transports
)

var transports = [transportCount]string{"http", "long-poll", "stream", "socket", "peerjs", "y-webrtc", "trystero", "tracker"}

// String returns the name used in metrics.
func (t Transport) String() string { return transports[t] }

// Transports returns all transports.
func Transports() []Transport {
	all := make([]Transport, transportCount)
	for i := range all {
		all[i] = Transport(i)
	}
	return all
}

// codes are the statuses that are counted separately. Others count as 500.
var codes = [...]int{
	http.StatusSwitchingProtocols, http.StatusOK, http.StatusNoContent,
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUpgradeRequired, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable,
}

// Codes returns the statuses that are counted separately.
func Codes() []int { return codes[:] }

// codeIndex maps a status to its index in codes.
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

// A Meter counts what the server does. The zero Meter is ready to use, and a nil Meter
// counts nothing.
type Meter struct {
	// Delivery records the time from a store's acceptance of a message to its
	// acknowledgement.
	Delivery Histogram

	requests  [transportCount][len(codes)]atomic.Uint64
	receivers [transportCount]atomic.Int64
}

// Request counts a request by the HTTP status of its response.
func (m *Meter) Request(t Transport, status int) {
	if m == nil {
		return
	}
	if status < 0 || status >= len(codeIndex) {
		status = http.StatusInternalServerError
	}
	m.requests[t][codeIndex[status]].Add(1)
}

// Requests returns the number of requests answered with the given status, one of [Codes].
func (m *Meter) Requests(t Transport, status int) uint64 {
	return m.requests[t][codeIndex[status]].Load()
}

// Receivers returns the number of waiting receivers.
func (m *Meter) Receivers(t Transport) int64 { return m.receivers[t].Load() }

// A Wait counts one receiver while it waits. The zero Wait counts none. It is not safe
// for concurrent use.
type Wait struct {
	count *atomic.Int64
}

// Begin counts a receiver that begins to wait on a transport. It does nothing if the Wait
// already counts.
func (w *Wait) Begin(m *Meter, t Transport) {
	if m != nil && w.count == nil {
		w.count = &m.receivers[t]
		w.count.Add(1)
	}
}

// End stops counting the receiver.
func (w *Wait) End() {
	if w.count != nil {
		w.count.Add(-1)
		w.count = nil
	}
}
