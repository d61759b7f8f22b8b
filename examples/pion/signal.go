package main

import (
	"encoding/json"

	"github.com/pion/webrtc/v4"
)

// A Signal is a message between two peers about a call, encoded as JSON. See
// web/sdk/README.md.
type Signal struct {
	Session    string                    `json:"session"`
	Type       string                    `json:"type"` // offer, answer, candidates, bye
	N          int                       `json:"n,omitempty"`
	SDP        string                    `json:"sdp,omitempty"`
	Candidates []webrtc.ICECandidateInit `json:"candidates,omitempty"`
	Why        string                    `json:"why,omitempty"`
	Reason     string                    `json:"reason,omitempty"`
}

// parse decodes a signal. It reports false for messages that are not about calls.
func parse(body []byte) (s Signal, ok bool) {
	err := json.Unmarshal(body, &s)
	return s, err == nil && s.Session != "" && len(s.Session) <= 64
}

func (s Signal) encode() []byte {
	body, err := json.Marshal(s)
	if err != nil {
		panic(err) // cannot happen: strings and numbers
	}
	return body
}
