package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// canaries are chosen by peers, so no log may contain them.
var canaries = map[string]string{
	"id": "Kanari-id ü", "password": "Kanari:password/é", "wrong": "Kanari-wrong", "recipient": "Kanari-to&ö", "body": "Kanari-body \x00",
	"key": "Kanari-key", "origin": "kanari-origin.example", "path": "kanari-path", "agent": "Kanari-agent",
}

// TestCanaries sends every kind of traffic, valid and invalid, over HTTP/1.1 and HTTP/2.
// Then it searches the most verbose log for what the peers chose, in every encoding in
// which it might appear.
func TestCanaries(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // for the certificate
	for _, flags := range [][]string{{"--log-format=text"}, {"--log-format=json", "--tls=self-signed"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			r := serve(t, append(flags, "--log-level=debug", "--drain=0s", "--inbox-capacity=2", "--max-body=1000", "--max-wait=1s")...)
			transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer transport.CloseIdleConnections()
			c := &talker{t, r, &http.Client{Transport: transport}}
			c.talk()
			c.callPeers()
			c.babble()
			r.end(t)
			log := r.log.String()
			if n := strings.Count(log, "request"); n < 20 {
				t.Fatalf("only %d requests were logged:\n%s", n, log)
			}
			hits := 0
			for name, canary := range canaries {
				for form, text := range forms(canary) {
					if strings.Contains(strings.ToLower(log), strings.ToLower(text)) {
						t.Errorf("the log names the %s, %s", name, form)
						hits++
					}
				}
			}
			if hits > 0 || strings.Contains(strings.ToLower(log), "kanari") {
				t.Errorf("the log contains what it should not:\n%s", log)
			}
		})
	}
}

// forms returns the encodings in which a text may appear.
func forms(text string) map[string]string {
	credentials := base64.StdEncoding.EncodeToString([]byte(canaries["id"] + ":" + text))
	return map[string]string{
		"plain":                     text,
		"quoted":                    strings.Trim(fmt.Sprintf("%q", text), `"`),
		"percent-encoded":           url.QueryEscape(text),
		"percent-encoded as a path": url.PathEscape(text),
		"in base64":                 base64.RawStdEncoding.EncodeToString([]byte(text))[:8],
		"in base64 for URLs":        base64.RawURLEncoding.EncodeToString([]byte(text))[:8],
		"in hex":                    hex.EncodeToString([]byte(text)),
		"in credentials":            credentials[:20],
	}
}

type talker struct {
	*testing.T
	*running
	client *http.Client
}

// ask sends a request and ignores the result.
func (c *talker) ask(ctx context.Context, method, query, id, password, body string, header http.Header) {
	c.Helper()
	req, err := http.NewRequestWithContext(ctx, method, c.url+"/inbox?"+query, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	req.Header.Set("User-Agent", canaries["agent"])
	maps.Copy(req.Header, header)
	if id != "" {
		req.SetBasicAuth(id, password)
	}
	if body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	res, err := c.client.Do(req)
	if err != nil {
		return
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
}

// talk sends what peers send, including mistakes.
func (c *talker) talk() {
	ctx := c.Context()
	id, password, to, body := canaries["id"], canaries["password"], canaries["recipient"], canaries["body"]
	key := http.Header{"Idempotency-Key": {canaries["key"]}}
	send := "to=" + url.QueryEscape(to)
	for _, asks := range []string{"wait=0", "limit=0", "after=0&wait=0", "after=" + canaries["key"], "wait=" + canaries["key"], canaries["key"] + "%zz", ""} {
		c.ask(ctx, http.MethodGet, asks, id, password, "", nil)
		c.ask(ctx, http.MethodGet, asks, id, canaries["wrong"], "", nil)
	}
	c.ask(ctx, http.MethodPost, send, id, password, body, key) // no such inbox
	c.ask(ctx, http.MethodGet, "wait=0", to, password, "", nil)
	for range 4 { // delivered, replayed, full
		c.ask(ctx, http.MethodPost, send, id, password, body, key)
		c.ask(ctx, http.MethodPost, send, id, password, body, nil)
	}
	c.ask(ctx, http.MethodPost, send, id, canaries["wrong"], body, key)
	c.ask(ctx, http.MethodPost, send+"&"+send, id, password, body, nil)
	c.ask(ctx, http.MethodPost, send+"%00", id, password, body, nil)
	c.ask(ctx, http.MethodPost, send, id, password, strings.Repeat(body, 1000), nil)
	c.ask(ctx, http.MethodPost, send, id, password, body, http.Header{"Content-Encoding": {canaries["key"]}})
	c.ask(ctx, http.MethodPost, send, id, password, body, http.Header{"Idempotency-Key": {canaries["key"] + " x"}})
	c.ask(ctx, http.MethodPost, send, " "+id, password, body, nil)
	c.ask(ctx, http.MethodGet, "wait=0", to, password, "", http.Header{"Accept": {"application/json"}})
	c.ask(ctx, http.MethodGet, "", "", "", "", http.Header{"Authorization": {"Bearer " + canaries["password"]}})
	c.ask(ctx, http.MethodGet, "", "", "", "", http.Header{"Authorization": {"Basic " + canaries["password"]}})
	c.ask(ctx, "KANARI", "", id, password, "", nil)
	c.ask(ctx, http.MethodHead, "", id, password, "", nil)
	c.ask(ctx, http.MethodOptions, "", id, password, "", http.Header{
		"Origin": {"https://" + canaries["origin"]}, "Access-Control-Request-Method": {"KANARI"},
	})
	c.ask(ctx, http.MethodGet, "", id, password, "", http.Header{"Sec-Fetch-Mode": {"navigate"}, "Referer": {"https://" + canaries["origin"]}})
	for _, accept := range []string{"*/*", "text/event-stream"} { // abandoned while waiting, before and after it is parked
		for _, after := range []time.Duration{20 * time.Millisecond, 400 * time.Millisecond} {
			leaves, cancel := context.WithTimeout(ctx, after)
			c.ask(leaves, http.MethodGet, "", id, password, "", http.Header{"Accept": {accept}})
			cancel()
		}
	}
	c.ask(ctx, http.MethodGet, "", id, password, "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {canaries["key"]}, "Sec-Websocket-Protocol": {canaries["key"]},
	})
	for _, path := range []string{"/../" + canaries["path"], "//" + canaries["path"], "/readyz?" + canaries["key"]} {
		if res, err := c.client.Get(c.url + path); err == nil {
			res.Body.Close()
		}
	}
	c.ask(ctx, http.MethodDelete, "", id, canaries["wrong"], "", nil)
	c.ask(ctx, http.MethodDelete, "", id, password, "", nil)
}

// babble sends input that is not a valid request, which makes net/http log errors.
func (c *talker) babble() {
	secure := strings.HasPrefix(c.url, "https")
	_, address, _ := strings.Cut(c.url, "//")
	request := "POST /inbox?to=" + url.QueryEscape(canaries["recipient"]) + " HTTP/1.1\r\nHost: " + canaries["origin"] + "\r\n" +
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(canaries["id"]+":"+canaries["password"])) + "\r\n"
	for _, text := range []string{
		"KANARI /kanari HTTP/9.9\r\n\r\n", "KANARI KANARI KANARI\r\n\r\n", request + "Kanari Kanari: x\r\n\r\n", request + "X: \x00Kanari\r\n\r\n",
		request + "Content-Length: kanari\r\n\r\n", request + "Transfer-Encoding: kanari\r\n\r\n", request + "Content-Length: 100\r\n\r\nKanari",
		request + "Transfer-Encoding: chunked\r\n\r\nKanari\r\n", "PRI * HTTP/2.0\r\n\r\nKanari\r\n\r\nKanari", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nKanariKanariKanari",
		"\x16\x03\x01Kanari", strings.Repeat("X-Kanari: x\r\n", 3000),
	} {
		for _, secured := range []bool{false, true} {
			var conn net.Conn
			var err error
			switch {
			case !secured:
				conn, err = net.Dial("tcp", address)
			case secure:
				conn, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: canaries["origin"]})
			default:
				continue
			}
			if err != nil {
				c.Fatal(err)
			}
			tcp, _ := conn.(*net.TCPConn)
			go func() {
				io.WriteString(conn, text)
				if tcp != nil {
					tcp.CloseWrite()
				} else {
					conn.(*tls.Conn).CloseWrite()
				}
			}()
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}
	if secure { // crypto/tls logs the protocols that a client offers, which are not the peer's choice
		config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"something-else"}, ServerName: canaries["origin"]}
		if conn, err := tls.Dial("tcp", address, config); err == nil {
			conn.Close()
		}
	}
}
