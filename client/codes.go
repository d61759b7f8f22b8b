package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"inbox"
)

// A Code is six letters that a person can read out. It leads to a peer or to a room, once.
type Code struct {
	Text string        // six capital letters, such as KXTRBM
	TTL  time.Duration // how long it can be redeemed
}

// String returns the code in two groups of three letters, which are easier to read out.
// [Client.Redeem] accepts both forms.
func (c Code) String() string {
	if len(c.Text) != 6 {
		return c.Text
	}
	return c.Text[:3] + " " + c.Text[3:]
}

// Invite creates a code that leads to this peer or, if room is not empty, to a room. It opens
// the inbox if necessary. Failed attempts are retried for [Config.RetryFor].
//
// If this address has created too many codes, the error is an [*Error] with the code
// rate-limited, or a [*RetryError] that wraps one. Its RetryAfter is how long to wait.
func (c *Client) Invite(ctx context.Context, room string) (code Code, err error) {
	query := "code"
	if room != "" {
		if err := inbox.CheckRoom(room); err != nil {
			return Code{}, fmt.Errorf("client: %w", err)
		}
		query += "&room=" + url.QueryEscape(room)
	}
	open, cancel := c.untilClosed(ctx)
	defer cancel()
	err = c.persist(open, false, func(ctx context.Context) error {
		a, err := c.whileOpen(func() (answer, error) {
			return c.do(ctx, request{method: http.MethodPost, query: query, success: isCode})
		})
		if err == nil {
			code, _ = parseCode(a.body)
		}
		return err
	})
	return code, err
}

// Redeem returns the peer that created a code, and the room if the code leads to one. The code
// may be in either case and contain spaces and dashes, as a person types it. Redeem neither opens
// the inbox nor keeps it alive.
//
// A code can be redeemed once, so Redeem makes a single attempt: if the response is lost, the
// code may have been used up.
//
// Errors: [inbox.ErrNoCode] if the code is mistyped, was used or has expired. After a few wrong
// codes, [inbox.ErrRateLimited] as an [*Error] whose RetryAfter is how long to wait.
func (c *Client) Redeem(ctx context.Context, typed string) (inbox.Invitation, error) {
	text, ok := inbox.ParseCode(typed)
	if !ok {
		return inbox.Invitation{}, fmt.Errorf("client: a code has six letters, and none of I, J, L, O, Q, U and W: %w", inbox.ErrNoCode)
	}
	if c.life.Err() != nil {
		return inbox.Invitation{}, inbox.ErrClosed
	}
	a, err := c.do(ctx, request{method: http.MethodPost, path: "code", body: []byte(text), success: isInvitation})
	if err != nil {
		return inbox.Invitation{}, err
	}
	i, _ := parseInvitation(a.body)
	return i, nil
}

func isCode(a answer) bool {
	_, ok := parseCode(a.body)
	return a.status == http.StatusOK && ok
}

func parseCode(body []byte) (Code, bool) {
	var said struct {
		Code    string `json:"code"`
		Seconds uint32 `json:"seconds"`
	}
	if json.Unmarshal(body, &said) != nil {
		return Code{}, false
	}
	text, ok := inbox.ParseCode(said.Code)
	return Code{text, time.Duration(said.Seconds) * time.Second}, ok
}

func isInvitation(a answer) bool {
	_, ok := parseInvitation(a.body)
	return a.status == http.StatusOK && ok
}

func parseInvitation(body []byte) (inbox.Invitation, bool) {
	var said struct {
		ID   string `json:"id"`
		Room string `json:"room"`
	}
	err := json.Unmarshal(body, &said)
	return inbox.Invitation{Peer: said.ID, Room: said.Room}, err == nil && said.ID != ""
}
