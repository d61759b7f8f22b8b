package topichttp

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"inbox"
	"inbox/internal/jsontext"
	"inbox/internal/meter"
	"inbox/internal/socket"
)

const (
	// announceInterval is how often clients announce themselves: as at other trackers.
	announceInterval = 120 * time.Second
	// maxOffers bounds the offers of one announce that the tracker passes on, as other
	// trackers do. Clients send five to ten.
	maxOffers = 82
)

// An id names a swarm, a peer or an offer. In JSON it is a string of 20 code points from
// 0 to 255, one for each byte.
type id [20]byte

// readID returns the id in a JSON string.
func readID(value []byte) (to id, ok bool) {
	const longest = 6 * len(to) // each byte escaped
	if !jsontext.IsString(value) || len(value) > longest+2 {
		return id{}, false
	}
	var buf [longest]byte
	n := 0
	for text := jsontext.AppendText(buf[:0], value); len(text) > 0; n++ {
		r, size := utf8.DecodeRune(text)
		if n == len(to) || r > 255 {
			return id{}, false
		}
		to[n], text = byte(r), text[size:]
	}
	return to, n == len(to)
}

// appendID appends an id as a JSON string.
func appendID(to []byte, i id) []byte {
	var buf [2 * len(i)]byte
	text := buf[:0]
	for _, b := range i {
		text = utf8.AppendRune(text, rune(b))
	}
	return jsontext.AppendString(to, text)
}

// An announce is what a client says about one of its peers: that it is in a swarm, and
// its offers and answer to others.
type announce struct {
	m          *member
	hash, peer id
	seeder     bool // the peer has the whole torrent
	stopped    bool // the peer leaves
	offers     []signal
	answer     signal // to a peer; its body is nil without an answer
	to         id
	size       int // of the frame, in bytes
}

// A signal is an offer or an answer, in JSON.
type signal struct{ body, id []byte }

// copies implements [publication].
func (a *announce) copies() int { return a.m.h.swarms.copies(a) }

// bytes implements [publication].
func (a *announce) bytes() int { return a.size }

// publish implements [publication].
func (a *announce) publish() (status int) {
	found, err := a.m.h.swarms.announce(a)
	if err != nil {
		a.m.refuse("announce", a.hash, err)
		return http.StatusTooManyRequests
	}
	if a.answer.body == nil {
		a.m.answer(found.announced(a.hash))
	}
	return http.StatusOK
}

// trackerMessage handles a frame of a WebTorrent client.
func trackerMessage(m *member, s *socket.Socket, now time.Time, text []byte) error {
	text = bytes.Clone(text) // an announce may have to wait
	r, object := readRequest(text)
	hash, valid := readID(r.hash)
	switch {
	case !object || !jsontext.Is(r.action, "announce") && !jsontext.Is(r.action, "scrape"):
		m.refuse("announce", hash, errAction)
	case jsontext.Is(r.action, "scrape"):
		m.scrape(r.hash)
	case !valid:
		m.refuse("announce", hash, errHash)
	default:
		a, err := r.announce(m, len(text))
		switch {
		case err != nil:
			m.refuse("announce", hash, err)
		case a.stopped:
			if i := m.trackedAt(a.hash, a.peer); i >= 0 {
				m.h.swarms.leave(m, i)
			}
			m.answer(m.h.swarms.counts(a.hash).announced(a.hash))
		default:
			known := m.trackedAt(a.hash, a.peer) >= 0
			if err := m.send(s, now, a); err != nil || known {
				return err
			}
		}
	}
	return m.odd(s)
}

// A refusal is the reason why a request fails. The client gets its text.
type refusal struct {
	text string
	why  meter.Reason
}

func (r *refusal) Error() string { return r.text }

var (
	errAction  = &refusal{"the action must be announce or scrape, in a JSON object", meter.BadRequest}
	errHash    = &refusal{"info_hash must be 20 characters from U+0000 to U+00FF", meter.BadRequest}
	errPeer    = &refusal{"peer_id must be 20 characters from U+0000 to U+00FF", meter.BadRequest}
	errEvent   = &refusal{"unknown event", meter.BadRequest}
	errOffers  = &refusal{"each of the offers needs an offer and an offer_id of 20 characters", meter.BadRequest}
	errAnswer  = &refusal{"an answer must be an object and needs a to_peer_id and an offer_id of 20 characters", meter.BadRequest}
	errScrape  = &refusal{"a scrape needs an info_hash, or an array of some", meter.BadRequest}
	errTracked = &refusal{"this connection is in too many swarms", meter.TopicsOfClient}
	errFull    = &refusal{"the swarm has too many peers at this server", meter.TopicSubscribers}
)

// answer queues a frame for the client.
func (m *member) answer(frame []byte) { m.Deliver(&inbox.Publication{Body: frame}) }

// refuse answers a request with the reason why it fails, which it counts. Clients drop
// their connection unless an answer has an action.
func (m *member) refuse(action string, hash id, why *refusal) {
	m.h.Refusals.Add(why.why, m.socket.Client())
	b := append(append([]byte(`{"action":"`), action...), `","failure reason":`...)
	b = append(jsontext.AppendString(b, why.text), `,"info_hash":`...)
	m.answer(append(appendID(b, hash), '}'))
}

// trackedAt returns the index in m.tracked of a peer in a swarm, or -1.
func (m *member) trackedAt(hash, peer id) int {
	for i, t := range m.tracked {
		if t.peer.id == peer && t.swarm.hash == hash {
			return i
		}
	}
	return -1
}

// scrape answers with the numbers of peers in swarms. hashes is an info_hash or an array.
func (m *member) scrape(hashes []byte) {
	b := []byte(`{"action":"scrape","files":{`)
	n, valid := 0, true
	file := func(value []byte) {
		hash, ok := readID(value)
		if valid = valid && ok && n < m.h.PerConnection; !valid {
			return
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		c := m.h.swarms.counts(hash)
		b = append(appendID(b, hash), `:{"complete":`...)
		b = append(strconv.AppendInt(b, int64(c.complete), 10), `,"incomplete":`...)
		b = append(strconv.AppendInt(b, int64(c.incomplete), 10), `,"downloaded":`...)
		b = append(strconv.AppendInt(b, int64(c.complete), 10), '}')
	}
	if jsontext.IsString(hashes) {
		file(hashes)
	} else if !jsontext.Array(hashes, file) {
		valid = false
	}
	if !valid || n == 0 {
		m.refuse("scrape", id{}, errScrape)
		return
	}
	b = append(b, `},"flags":{"min_request_interval":`...)
	b = strconv.AppendInt(b, int64(announceInterval/time.Second), 10)
	m.answer(append(b, `}}`...))
}

// counts are the numbers of peers in a swarm, at all servers.
type counts struct{ complete, incomplete int }

// announced returns the answer to an announce.
func (c counts) announced(hash id) []byte {
	b := []byte(`{"action":"announce","interval":`)
	b = append(strconv.AppendInt(b, int64(announceInterval/time.Second), 10), `,"complete":`...)
	b = append(strconv.AppendInt(b, int64(c.complete), 10), `,"incomplete":`...)
	b = append(strconv.AppendInt(b, int64(c.incomplete), 10), `,"info_hash":`...)
	return append(appendID(b, hash), '}')
}

// relayed returns the frame for the receiver of a signal. The parameter what is "offer" or
// "answer".
func (a *announce) relayed(what string, s signal) []byte {
	b := make([]byte, 0, len(s.body)+len(s.id)+200)
	b = append(append(append(b, `{"action":"announce","`...), what...), `":`...)
	b = append(append(append(b, s.body...), `,"offer_id":`...), s.id...)
	b = appendID(append(b, `,"peer_id":`...), a.peer)
	return append(appendID(append(b, `,"info_hash":`...), a.hash), '}')
}

// A request is a frame's members, in JSON; nil if missing.
type request struct {
	action, hash, peer, event, left, offers, answer, to, offerID []byte
}

// readRequest reports whether the text is an object. Of duplicate names, the last counts.
func readRequest(text []byte) (r request, object bool) {
	object = jsontext.Object(text, func(name, value []byte) {
		if string(value) == "null" {
			value = nil
		}
		switch {
		case jsontext.Is(name, "action"):
			r.action = value
		case jsontext.Is(name, "info_hash"):
			r.hash = value
		case jsontext.Is(name, "peer_id"):
			r.peer = value
		case jsontext.Is(name, "event"):
			r.event = value
		case jsontext.Is(name, "left"):
			r.left = value
		case jsontext.Is(name, "offers"):
			r.offers = value
		case jsontext.Is(name, "answer"):
			r.answer = value
		case jsontext.Is(name, "to_peer_id"):
			r.to = value
		case jsontext.Is(name, "offer_id"):
			r.offerID = value
		}
	})
	return r, object
}

// announce returns the announce of a request.
func (r *request) announce(m *member, size int) (*announce, *refusal) {
	a := &announce{m: m, size: size}
	var ok bool
	if a.hash, ok = readID(r.hash); !ok {
		return nil, errHash
	}
	if a.peer, ok = readID(r.peer); !ok {
		return nil, errPeer
	}
	left, err := strconv.ParseFloat(string(r.left), 64)
	a.seeder = err == nil && left == 0
	switch {
	case jsontext.Is(r.event, "stopped"):
		a.stopped = true
	case jsontext.Is(r.event, "completed"):
		a.seeder = true
	case r.event != nil && !jsontext.Is(r.event, "") && !jsontext.Is(r.event, "empty") && !jsontext.Is(r.event, "update") &&
		!jsontext.Is(r.event, "started") && !jsontext.Is(r.event, "paused"):
		return nil, errEvent
	}
	if r.offers != nil && !a.readOffers(r.offers) {
		return nil, errOffers
	}
	if r.answer != nil {
		a.answer = signal{r.answer, r.offerID}
		if a.to, ok = readID(r.to); !ok || !a.answer.valid() {
			return nil, errAnswer
		}
	}
	return a, nil
}

// readOffers reads an array of offers and reports whether all are valid.
func (a *announce) readOffers(offers []byte) bool {
	valid := true
	array := jsontext.Array(offers, func(value []byte) {
		if len(a.offers) == maxOffers || !valid {
			return
		}
		var o signal
		object := jsontext.Object(value, func(name, value []byte) {
			switch {
			case jsontext.Is(name, "offer"):
				o.body = value
			case jsontext.Is(name, "offer_id"):
				o.id = value
			}
		})
		valid = object && o.valid()
		a.offers = append(a.offers, o)
	})
	return array && valid
}

// valid reports whether the clients that get s can read it.
func (s signal) valid() bool {
	_, ok := readID(s.id)
	return ok && len(s.body) > 0 && s.body[0] == '{'
}
