package inbox

import (
	"bytes"
	"encoding/json"
)

// MaxEvents is the number of events that an inbox buffers. If its owner falls further
// behind, one [RoomMembers] event per room replaces those that were dropped.
const MaxEvents = 256

// An EventKind says what an [Event] reports.
type EventKind string

// The kinds of events.
const (
	RoomJoined  EventKind = "joined"  // a peer has joined
	RoomLeft    EventKind = "left"    // a member has left, or has closed its inbox
	RoomExpired EventKind = "expired" // a member's inbox has expired
	RoomMembers EventKind = "members" // events were dropped; these are the members now
)

// An Event reports a change of a room to a member. It is delivered as a [Message] from the
// server. Events are in the order of the changes.
type Event struct {
	Room    string    `json:"name"`
	Kind    EventKind `json:"event"`
	Peer    string    `json:"peer,omitempty"`    // who joined, left or expired
	Members []string  `json:"members,omitempty"` // of RoomMembers, in the order in which they joined
}

// Body returns the body of the message that carries e: a JSON object.
func (e Event) Body() []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		panic(err) // impossible: strings only
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}

// FromServer reports whether the message is an [Event] from the server. Its From is empty,
// which no peer's id can be, so no peer can forge it.
func (m *Message) FromServer() bool { return m.From == "" }

// Event returns the event that the message carries. It reports false for a message from a
// peer.
func (m *Message) Event() (e Event, ok bool) {
	ok = m.FromServer() && json.Unmarshal(m.Body, &e) == nil
	return e, ok
}

// CheckRoom returns an error that describes what is wrong with the name of a room. The rules
// are those for ids: see [CheckID].
func CheckRoom(name string) error { return checkName("the name of a room", name) }
