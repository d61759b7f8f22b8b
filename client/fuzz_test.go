package client_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"inbox/client"
)

// A client that gets arbitrary responses does not panic, does not loop, and ends in time.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/json", "AAAAAAAAAAEAAAAAAAAAAA", "1", []byte(`{"messages":[{"cursor":"AAAAAAAAAAEAAAAAAAAAAQ","from":"bob","time":"2026-01-01T00:00:00Z","body":"hello"}],"reset":true}`))
	f.Add(200, "application/json", "AAAAAAAAAAEAAAAAAAAAAA", "", []byte(`{"messages":[{"cursor":"0","body64":"/w=="}]}`))
	f.Add(204, "", "AAAAAAAAAAEAAAAAAAAAAA", "", []byte{})
	f.Add(400, "application/problem+json", "", "0", []byte(`{"code":"bad-cursor"}`))
	f.Add(409, "application/problem+json", "", "", []byte(`{"code":"replaced"}`))
	f.Add(503, "application/problem+json", "", "99999999999999999999", []byte(`{"code":"draining"}`))
	f.Add(429, "text/html", "", "Sat, 01 Jan 2000 00:00:00 GMT", []byte("slow down"))
	f.Fuzz(func(t *testing.T, status int, media, cursor, retryAfter string, body []byte) {
		if status < 200 || status > 599 {
			t.Skip("net/http lets none of these through")
		}
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			alice, err := client.New(client.Config{
				URL: "http://inbox.test/inbox", ID: "alice", Password: "secret", PollOnly: true,
				HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					asked++
					header := http.Header{"Content-Type": {media}, "Inbox-Cursor": {cursor}, "Inbox-Reset": {"true"}, "Retry-After": {retryAfter}}
					status, body := status, body
					if status == http.StatusOK && r.URL.Query().Get("limit") == "0" { // otherwise the client never requests a message
						status, body = http.StatusNoContent, nil
					}
					return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
				})},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			begin := time.Now()
			alice.Send(ctx, "bob", []byte("hello"))
			if d := time.Since(begin); d > 46*time.Second { // the last request may begin after 30 s
				t.Errorf("sending took %v", d)
			}
			n := 0
			for range alice.All(ctx) {
				if n++; n == 100 { // every response has a message or a reset
					break
				}
			}
			alice.Close(ctx)
			if asked > 1000 {
				t.Errorf("made %d requests", asked)
			}
		})
	})
}
