package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"inbox/internal/inboxtest"
)

// Behind a proxy that passes addresses in a header, each client may have as many
// connections as without the proxy, whether it polls, streams or uses a socket, and over
// HTTP/2 too.
func TestConnectionsBehindAProxy(t *testing.T) {
	const most = 3
	r := serve(t, "--drain=0s", "--turn=off", "--trusted-proxy=127.0.0.1", fmt.Sprint("--limit-connections=", most))
	http1, http2 := new(http.Transport), &http.Transport{Protocols: new(http.Protocols)}
	http2.Protocols.SetUnencryptedHTTP2(true)
	defer http1.CloseIdleConnections()
	defer http2.CloseIdleConnections()

	// Each makes a request as a client with an address, until ctx ends, and returns the
	// status.
	request := func(transport *http.Transport, query, accept string) func(ctx context.Context, id, client string) int {
		return func(ctx context.Context, id, client string) int {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/inbox"+query, nil)
			req.SetBasicAuth(id, "a")
			req.Header.Set("X-Forwarded-For", client)
			if accept != "" {
				req.Header.Set("Accept", accept)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				return 0
			}
			context.AfterFunc(ctx, func() { res.Body.Close() })
			return res.StatusCode
		}
	}
	socket := func(ctx context.Context, id, client string) int {
		req := &http.Request{Header: http.Header{"X-Forwarded-For": {client}}}
		req.SetBasicAuth(id, "a")
		conn, res, err := websocket.Dial(ctx, r.url+"/inbox", &websocket.DialOptions{HTTPHeader: req.Header, Subprotocols: []string{"inbox.v1"}})
		if err != nil && res != nil {
			return res.StatusCode
		} else if err != nil {
			return 0
		}
		context.AfterFunc(ctx, func() { conn.CloseNow() })
		if _, _, err := conn.Read(ctx); err != nil {
			return int(websocket.CloseStatus(err))
		}
		return http.StatusOK
	}
	poll, poll2 := request(http1, "?after=0&wait=25", ""), request(http2, "?after=0&wait=25", "")
	ask := request(http1, "?limit=0", "")
	for i, kind := range []struct {
		name string
		wait func(ctx context.Context, id, client string) int
		none bool // no response while it waits
	}{
		{"polls", poll, true}, {"streams", request(http1, "?after=0", "text/event-stream"), false}, {"sockets", socket, false},
		{"polls over HTTP/2", poll2, true}, {"streams over HTTP/2", request(http2, "?after=0", "text/event-stream"), false},
	} {
		t.Run(kind.name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			one, other := fmt.Sprintf("192.0.2.%d", i), fmt.Sprintf("[2001:db8:%d::1]:4711", i)
			waiting := make(chan int, most)
			for n := range most {
				wait := func() { waiting <- kind.wait(ctx, fmt.Sprint("waiter", i, n), one) }
				if kind.none {
					go wait()
				} else if wait(); <-waiting != http.StatusOK {
					t.Fatal("the request does not wait")
				}
			}
			refused := func(status int) bool { return status == http.StatusTooManyRequests || status == 4429 }
			inboxtest.Until(t, "the client has all of its connections", func() bool {
				return refused(ask(ctx, "asker", one))
			})
			if status := kind.wait(ctx, fmt.Sprint("waiter", i, most), one); !refused(status) {
				t.Errorf("one more gets %d", status)
			}
			if status := ask(ctx, "asker", other); status != http.StatusNoContent {
				t.Errorf("another client gets %d", status)
			}
			leave()
			inboxtest.Until(t, "the connections have ended", func() bool {
				return ask(t.Context(), "asker", one) == http.StatusNoContent
			})
		})
	}
}
