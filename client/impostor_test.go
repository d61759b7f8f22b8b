package client_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"inbox"
	"inbox/client"
)

// impostors are servers other than an inbox server, each with the code that the client
// must report.
var impostors = map[string]struct {
	code   string
	answer http.HandlerFunc
}{
	"the fallback of a single-page application": {"not-inbox", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html><title>App</title>")
	}},
	"an uncached page": {"not-inbox", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><title>Welcome to our hotel</title>")
	}},
	"an empty page":  {"not-inbox", func(w http.ResponseWriter, r *http.Request) {}},
	"a plain answer": {"not-inbox", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") }},
	"JSON of another API": {"not-inbox", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"messages":[{"cursor":"AAAAAAAAAAEAAAAAAAAAAA","from":"x"}]}`)
	}},
	"uncached JSON": {"not-inbox", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{}`)
	}},
	"an empty success":                {"not-inbox", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }},
	"a queue that accepts everything": {"not-inbox", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusAccepted) }},
	"an echo of the body":             {"not-inbox", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }},
	"a socket of another protocol": {"not-inbox", func(w http.ResponseWriter, r *http.Request) {
		if !isUpgrade(r) {
			return
		}
		if conn, err := websocket.Accept(w, r, nil); err == nil {
			conn.Write(r.Context(), websocket.MessageText, []byte(`{"type":"opened","cursor":"0"}`))
			conn.Read(r.Context())
		}
	}},
	"a redirect to a login": {"", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://portal.example/login?to="+url.QueryEscape(r.URL.String()), http.StatusFound)
	}},
	"a redirect to the right path": {"", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/inbox", http.StatusPermanentRedirect)
	}},
	"a missing page": {"", http.NotFound},
	"a captive portal with status 511": {"", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNetworkAuthenticationRequired)
	}},
	"a proxy with a password": {"proxy-auth", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="staging"`)
		http.Error(w, "<h1>401</h1>", http.StatusUnauthorized)
	}},
	"a proxy with problem details": {"proxy-auth", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer`)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"code":"TOKEN_MISSING","detail":"log in"}`)
	}},
	"a proxy without a challenge": {"proxy-auth", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }},
	"a forward proxy":             {"proxy-auth", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }},
}

// Every call to an impostor fails immediately and reports what answered. Nothing counts
// as sent, received, acknowledged or closed.
func TestImpostors(t *testing.T) {
	for name, impostor := range impostors {
		t.Run(name, func(t *testing.T) {
			c := config{wrap: func(http.Handler) http.Handler { return impostor.answer }}
			inBubble(t, c, func(s *server) {
				begin := time.Now()
				check := func(what string, err error) {
					s.Helper()
					e, ok := errors.AsType[*client.Error](err)
					if !ok || e.Code != impostor.code {
						s.Errorf("%s: error %v, want the code %q", what, err, impostor.code)
					}
					if _, retried := errors.AsType[*client.RetryError](err); retried || time.Since(begin) != 0 {
						s.Errorf("%s: retried for %v: %v", what, time.Since(begin), err)
					}
					if errors.Is(err, inbox.ErrUnauthorized) {
						s.Errorf("%s: %v is mistaken for a refusal by the inbox", what, err)
					}
					if impostor.code == "" && strings.Contains(err.Error(), "?to=") {
						s.Errorf("%s: %v names the recipient", what, err)
					}
				}
				alice := s.client("alice", client.Config{})
				check("send", alice.Send(s.Context(), "bob", []byte("hello")))
				for _, pollOnly := range []bool{false, true} {
					bob := s.client("bob", client.Config{PollOnly: pollOnly, After: inbox.Cursor{Life: 1, Seq: 1}})
					_, err := bob.Receive(s.Context())
					check(fmt.Sprint("receive, PollOnly=", pollOnly), err)
					if got := bob.Transport(); got != "" {
						s.Errorf("receives by %q", got)
					}
					bob.Leave()
				}
				check("acknowledge", s.client("bob", client.Config{After: inbox.Cursor{Life: 1, Seq: 1}}).Acknowledge(s.Context()))
				if got, err := alice.ICE(s.Context()); name != "a missing page" {
					check("ICE servers", err)
				} else if err != nil || len(got.Servers) > 0 {
					s.Errorf("an older server has %v, %v", got, err)
				}
				check("report", alice.Report(s.Context(), client.Outcome{Result: "failed"}))
				check("close", alice.Close(s.Context()))
			})
		})
	}
}

// A challenge for the realm inbox counts as the inbox's, even if a proxy replaces the
// body or drops the challenge and keeps the body.
func TestOwnChallenge(t *testing.T) {
	const challenge, page = `Basic realm="inbox", charset="UTF-8"`, `{"code":"unauthorized","detail":"This inbox has another password."}`
	for _, answer := range [][3]string{
		{challenge, "application/problem+json", page}, {"", "application/problem+json", page}, {challenge, "text/html", "<h1>401</h1>"},
	} {
		c := config{wrap: func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if answer[0] != "" {
					w.Header().Set("WWW-Authenticate", answer[0])
				}
				w.Header().Set("Content-Type", answer[1])
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, answer[2])
			})
		}}
		inBubble(t, c, func(s *server) {
			wantErr(s, s.client("alice", client.Config{}).Send(s.Context(), "bob", nil), inbox.ErrUnauthorized)
			_, err := s.client("bob", client.Config{}).Receive(s.Context())
			wantErr(s, err, inbox.ErrUnauthorized)
		})
	}
}

// A proxy on the way to an https server refuses before the server sees the request.
func TestProxyAsksForCredentials(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="company"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(at)}
	defer transport.CloseIdleConnections()
	for _, scheme := range []string{"http", "https"} {
		c, err := client.New(client.Config{URL: scheme + "://inbox.test/inbox", ID: "alice", Password: "secret", HTTP: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		_, received := c.Receive(t.Context())
		for what, err := range map[string]error{"send": c.Send(t.Context(), "bob", nil), "receive": received} {
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "proxy-auth" || e.Status != http.StatusProxyAuthRequired {
				t.Errorf("%s: %s: error %v, want proxy-auth", scheme, what, err)
			}
		}
		c.Leave()
	}
}

// New rejects configurations that no retry could fix.
func TestNewRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"":                                    "the URL must look like",
		"example.com/inbox":                   "the URL must look like",
		"ws://example.com/inbox":              "the URL must look like",
		"http:///inbox":                       "the URL must look like",
		"http://example.com:99999/inbox":      "port 99999, want 1 to 65535",
		"http://example.com:0/inbox":          "port 0, want 1 to 65535",
		"http://example.com:http/inbox":       "invalid URL",
		"http://exa mple.com/inbox":           "invalid URL",
		"http://alice:secret@example.com/":    "the URL contains credentials",
		"http://example.com/inbox?":           "a query or a fragment",
		"http://example.com/inbox?after=0":    "a query or a fragment",
		"http://example.com/inbox#":           "a query or a fragment",
		"http://example.com/inbox#fragment":   "a query or a fragment",
		" http://example.com/inbox":           "invalid URL",
		"http://example.com/inbox\r\nX-Evil:": "invalid URL",
	} {
		_, err := client.New(client.Config{URL: url, ID: "alice", Password: "secret"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v, want %q", url, err, want)
		}
	}
	for name, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"with an invalid URL":    func(*http.Request) (*url.URL, error) { return nil, errors.New("invalid proxy URL") },
		"with an unknown scheme": http.ProxyURL(&url.URL{Scheme: "ftp", Host: "proxy.test"}),
	} {
		_, err := client.New(client.Config{URL: "http://example.com/inbox", ID: "alice", Password: "secret", HTTP: &http.Client{Transport: &http.Transport{Proxy: proxy}}})
		if err == nil || !strings.Contains(err.Error(), "proxy") {
			t.Errorf("a proxy %s: error %v", name, err)
		}
	}
}

// An invalid address that is only found when dialing ends the retries.
func TestPermanentFailures(t *testing.T) {
	inBubble(t, config{}, func(s *server) {
		begin := time.Now()
		refused := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext, Proxy: func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: "http", Host: "127.0.0.1:99999"}, nil
		}}}
		c := s.client("alice", client.Config{HTTP: refused})
		for what, err := range map[string]error{"send": c.Send(s.Context(), "bob", nil), "receive": receiveError(s, c)} {
			if _, ok := errors.AsType[*net.AddrError](err); !ok || time.Since(begin) != 0 {
				s.Errorf("%s: after %v: %v", what, time.Since(begin), err)
			}
		}
	})
}
