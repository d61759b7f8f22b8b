package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"inbox"
)

// An ICEServer is a STUN or TURN server, with the fields of RTCIceServer and of pion's
// webrtc.ICEServer.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// ICE is what the server knows for calls.
type ICE struct {
	Servers []ICEServer   // none if the server knows none, or is older than this URL
	TTL     time.Duration // how long a call can begin to use them; a long one asks again before that
}

// ICE asks the server for STUN and TURN servers. It neither opens the inbox nor keeps it
// alive, and makes one attempt: a call can also begin without.
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

// isICE recognizes the answer by its form, since other APIs also answer with JSON.
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

// An Outcome says how a call went, in words of docs/protocol.md (section 12.2). The server
// counts a word that it does not know as other. A Client reports nothing by itself.
type Outcome struct {
	Result    string        // connected, failed
	Path      string        // direct, relay; empty if it is not known, as are the others
	Transport string        // udp, tcp, tls
	Family    string        // ipv4, ipv6
	Cause     string        // of a failure, such as udp-blocked
	Time      time.Duration // from the answer to the result; 0 if it is not known
}

// Report tells the server how a call went. It makes one attempt. The server takes one
// report a minute of an inbox: beyond that, the Code of the [*Error] is rate-limited. It
// can be called after Close.
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
