package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"inbox/internal/inboxtest"
)

// dialPeer opens a PeerJS socket and returns the first frame.
func dialPeer(ctx context.Context, base string, query url.Values) (net.Conn, string, error) {
	dialer := ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	conn, early, _, err := dialer.Dial(ctx, "ws"+strings.TrimPrefix(base, "http")+"/peerjs?"+query.Encode())
	if err != nil {
		return nil, "", err
	}
	var r io.Reader = conn
	if early != nil {
		r = early
	}
	_, first, err := inboxtest.ReadFrame(r)
	return conn, string(first), err
}

func peerQuery(key, id string) url.Values {
	return url.Values{"key": {key}, "id": {id}, "token": {"token"}, "version": {"1.5.5"}}
}

// The URLs of PeerJS, with and without a trailing slash, do not shadow other URLs.
func TestPeerJSRoutes(t *testing.T) {
	for _, path := range []string{"/", "/signal", "/signal/"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := serve(t, "--base-path="+path, "--peerjs-key=mine", "--peerjs-discovery", "--drain=1s")
			r.url = strings.TrimSuffix(r.url, "/")
			conn, said, err := dialPeer(t.Context(), r.url, peerQuery("mine", "alice"))
			if err != nil || said != `{"type":"OPEN"}` {
				t.Fatalf("%s, %v", said, err)
			}
			defer conn.Close()
			wrong, said, err := dialPeer(t.Context(), r.url, peerQuery("peerjs", "bob"))
			if err != nil || !strings.Contains(said, "Invalid key provided") {
				t.Errorf("another key: %s, %v", said, err)
			} else {
				wrong.Close()
			}
			for _, c := range []struct {
				path, accept string
				status       int
				holds        string
			}{
				{"/mine/id", "*/*", 200, "-4"}, {"/mine/id/", "*/*", 200, "-4"}, {"/peerjs/id?ts=1", "*/*", 200, "-4"},
				{"/mine/peers", "*/*", 200, `["alice"]`}, {"/mine/peers/", "*/*", 200, `["alice"]`},
				{"/", "application/json", 200, `{"name":"PeerJS Server"`}, {"", "application/json", 200, `{"name":"PeerJS Server"`},
				{"/", "text/html", 200, "<!doctype html>"}, {"", "text/html", 200, "<!doctype html>"}, {"/", "*/*", 200, "<!doctype html>"},
				{"/call", "application/json", 200, "<!doctype html>"}, {"/inbox", "*/*", 401, `"unauthorized"`},
				{"/healthz", "*/*", 200, "ok"}, {"/readyz", "application/json", 200, "ok"}, {"/mine", "*/*", 404, ""}, {"/mine/else", "*/*", 404, ""},
				{"/peerjs", "*/*", 426, "WebSocket"},
			} {
				req, err := http.NewRequest(http.MethodGet, r.url+c.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Accept", c.accept)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != c.status || !strings.Contains(strings.ToLower(string(body)), strings.ToLower(c.holds)) {
					t.Errorf("%s for %s: %d %.100s", c.path, c.accept, res.StatusCode, body)
				}
			}
			conn.Close()
			r.end(t)
		})
	}
}

func TestWithoutPeerJS(t *testing.T) {
	r := serve(t, "--peerjs=false", "--drain=0s")
	defer r.end(t)
	if conn, said, err := dialPeer(t.Context(), r.url, peerQuery("peerjs", "alice")); err == nil {
		conn.Close()
		t.Errorf("a socket opened: %s", said)
	}
	for _, path := range []string{"/peerjs/id", "/peerjs/peers", "/peerjs"} {
		if res, _ := get(t, http.DefaultClient, r.url+path, "", ""); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// PeerJS clients are disconnected last, after receivers of the inbox protocol, which
// reconnect by themselves. No connection is cut.
func TestDrainOfPeerJS(t *testing.T) {
	r := serve(t, "--drain=2s")
	conn, said, err := dialPeer(t.Context(), r.url, peerQuery("peerjs", "alice"))
	if err != nil || said != `{"type":"OPEN"}` {
		t.Fatalf("%s, %v", said, err)
	}
	defer conn.Close()
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		get(t, http.DefaultClient, r.url+"/inbox", "bob", "password")
	}()
	r.stop()
	closed := make(chan ws.StatusCode, 1)
	go func() {
		_, payload, err := inboxtest.ReadFrame(conn)
		if err != nil {
			t.Error(err)
		}
		code, _ := ws.ParseCloseFrameData(payload)
		closed <- code
	}()
	select {
	case <-polled:
	case code := <-closed:
		t.Error("the PeerJS client was disconnected first")
		closed <- code
	}
	if code := <-closed; code != 1012 {
		t.Errorf("the socket was closed with %d", code)
	}
	conn.Close()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "cut off") {
		t.Errorf("the log: %s", r.log)
	}
}

// callPeers sends what PeerJS clients send, including mistakes.
func (c *talker) callPeers() {
	ctx, cancel := context.WithTimeout(c.Context(), 20*time.Second)
	defer cancel()
	id, to, body := canaries["id"], canaries["recipient"], `{"type":"OFFER","dst":"`+canaries["recipient"]+`","payload":"Kanari-body"}`
	for _, who := range [][3]string{{id, canaries["password"], "peerjs"}, {to, "Kanari-token", "peerjs"}, {id, canaries["wrong"], "peerjs"}, {id, "", "peerjs"}, {id, id, canaries["key"]}} {
		conn, _, err := dialPeer(ctx, c.url, url.Values{"id": {who[0]}, "token": {who[1]}, "key": {who[2]}})
		if err != nil {
			c.Fatal(err)
		}
		defer conn.Close()
		wsutil.WriteClientText(conn, []byte(body))
		wsutil.WriteClientText(conn, []byte(body+canaries["body"]))
	}
	for _, path := range []string{"/" + canaries["path"] + "/id?" + canaries["key"], "/" + canaries["path"] + "/peers", "/peerjs?id=" + url.QueryEscape(id)} {
		if res, err := c.client.Get(c.url + path); err == nil {
			res.Body.Close()
		}
	}
}
