package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"inbox"
)

// An ICEServer is a STUN or TURN server. Its fields match RTCIceServer in browsers and
// webrtc.ICEServer in pion.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// ICE is the list of STUN and TURN servers for calls.
type ICE struct {
	Servers []ICEServer   // empty if the server offers none or does not have this endpoint
	TTL     time.Duration // how long Servers can be used to begin calls; fetch them again before that
}

// ICE fetches the STUN and TURN servers that this peer may use. It neither opens the
// inbox nor keeps it alive. It makes a single attempt, since a call can begin without
// these servers.
func (c *Client) ICE(ctx context.Context) (ICE, error) {
	if c.life.Err() != nil {
		return ICE{}, inbox.ErrClosed
	}
	a, err := c.do(ctx, request{method: http.MethodGet, path: "ice", json: true, success: isICE})
	if e, ok := errors.AsType[*Error](err); ok && e.Code == "" && e.Status == http.StatusNotFound {
		return ICE{}, nil
	}
	if err != nil {
		return ICE{}, err
	}
	ice, _ := parseICE(a.body)
	return ice, nil
}

// isICE recognizes the response by its fields, since other APIs also respond with JSON.
func isICE(a answer) bool {
	_, ok := parseICE(a.body)
	return a.status == http.StatusOK && mediaType(a.header) == "application/json" && ok
}

func parseICE(body []byte) (ICE, bool) {
	var said struct {
		ICEServers *[]ICEServer `json:"iceServers"`
		TTL        uint32       `json:"ttl"`
	}
	if json.Unmarshal(body, &said) != nil || said.ICEServers == nil {
		return ICE{}, false
	}
	return ICE{*said.ICEServers, time.Duration(said.TTL) * time.Second}, true
}

// An Outcome describes how a call went, in the words of docs/protocol.md, section 12.2.
// The server counts unknown words as other.
type Outcome struct {
	Result    string        // connected or failed
	Path      string        // direct or relay; this and the next three are empty if unknown
	Transport string        // udp, tcp or tls
	Family    string        // ipv4 or ipv6
	Cause     string        // of a failure, such as udp-blocked
	Time      time.Duration // from the answer to the result; 0 if unknown
}

// Report sends the outcome of a call to the server. A Client never reports by itself. Report makes
// a single attempt. The server accepts one report per inbox and minute and refuses others
// with an [*Error] whose Code is rate-limited. Report also works after Close.
func (c *Client) Report(ctx context.Context, o Outcome) error {
	body, err := json.Marshal(struct {
		Result    string `json:"result"`
		Path      string `json:"path,omitempty"`
		Transport string `json:"transport,omitempty"`
		Family    string `json:"family,omitempty"`
		Cause     string `json:"cause,omitempty"`
		MS        int64  `json:"ms,omitempty"`
	}{o.Result, o.Path, o.Transport, o.Family, o.Cause, o.Time.Milliseconds()})
	if err != nil {
		return err
	}
	_, err = c.do(ctx, request{method: http.MethodPost, path: "outcome", body: body, success: isDone})
	return err
}
