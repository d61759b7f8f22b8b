package main

import (
	"encoding/json"

	"github.com/pion/webrtc/v4"
)

// A Signal is what two peers say to each other about a call: JSON in the body of a
// message. web/sdk/README.md explains it.
type Signal struct {
	Session    string                    `json:"session"`
	Type       string                    `json:"type"` // offer, answer, candidates, bye
	N          int                       `json:"n,omitempty"`
	SDP        string                    `json:"sdp,omitempty"`
	Candidates []webrtc.ICECandidateInit `json:"candidates,omitempty"`
	Why        string                    `json:"why,omitempty"`
	Reason     string                    `json:"reason,omitempty"`
}

// parse reads a signal. Other messages may have nothing to do with calls.
func parse(body []byte) (s Signal, ok bool) {
	err := json.Unmarshal(body, &s)
	return s, err == nil && s.Session != "" && len(s.Session) <= 64
}

func (s Signal) encode() []byte {
	body, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers
	}
	return body
}
