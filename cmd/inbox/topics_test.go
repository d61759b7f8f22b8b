package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"inbox/internal/inboxtest"
)

// The tracker is at /announce if it is turned on, and does not shadow URLs of PeerJS.
func TestTracker(t *testing.T) {
	const frame = `{"action":"announce","info_hash":"aaaaaaaaaaaaaaaaaaaa","peer_id":"bbbbbbbbbbbbbbbbbbbb"}`
	dial := func(url string) (net.Conn, error) {
		conn, _, _, err := ws.Dial(context.Background(), "ws"+strings.TrimPrefix(url, "http")+"/announce")
		return conn, err
	}
	for _, path := range []string{"/", "/signal"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := serveWatched(t, "--tracker", "--base-path="+path, "--peerjs-key=announce")
			url := strings.TrimSuffix(r.url, "/")
			conn, err := dial(url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := wsutil.WriteClientText(conn, []byte(frame)); err != nil {
				t.Fatal(err)
			}
			if _, said, err := inboxtest.ReadFrame(conn); err != nil || !strings.Contains(string(said), `"incomplete":1`) {
				t.Errorf("got %s, %v", said, err)
			}
			r.until(t, "inbox_tracker_swarms", 1)
			r.until(t, "inbox_tracker_peers", 1)
			r.until(t, `inbox_receivers{transport="tracker"}`, 1)
			for _, c := range []struct {
				path   string
				status int
			}{{"/announce", 426}, {"/announce/id", 200}, {"/announce/", 404}, {"/announce/else", 404}} {
				if res, body := get(t, http.DefaultClient, url+c.path, "", ""); res.StatusCode != c.status {
					t.Errorf("%s: %d %.100s", c.path, res.StatusCode, body)
				}
			}
			conn.Close()
			r.until(t, "inbox_tracker_swarms", 0)
			r.end(t)
		})
	}
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		r := serve(t, "--drain=0s")
		defer r.end(t)
		if conn, err := dial(strings.TrimSuffix(r.url, "/")); err == nil {
			conn.Close()
			t.Error("a socket opened")
		}
	})
}
