package server

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Messages of net/http about strangers are logged at debug level only. Messages for the
// operator are warnings or errors, and do not fill the disk.
func TestServerLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := &serverLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 3 {
			for range 100 {
				io.WriteString(log, "http: Accept error: accept tcp: too many open files; retrying in 5ms\n")
				io.WriteString(log, "http: TLS handshake error from 192.0.2.1:1: EOF\n")
			}
			time.Sleep(time.Second)
		}
		io.WriteString(log, "http: panic serving 192.0.2.1:1: boom\n")
		got := out.String()
		if n := strings.Count(got, "level=WARN"); n != 3 || !strings.Contains(got, "too many open files") {
			t.Errorf("%d warnings in 3 s: %s", n, got)
		}
		if strings.Count(got, "level=ERROR") != 1 || strings.Contains(got, "handshake") {
			t.Error(got)
		}
		if strings.Contains(got, "192.0.2") {
			t.Errorf("a client's address is logged: %s", got)
		}
	})
}

func TestLogContainsNoAddress(t *testing.T) {
	for text, want := range map[string]string{
		"http: TLS handshake error from 192.0.2.1:1: EOF":                  "http: TLS handshake error from (address): EOF",
		"read tcp 192.0.2.1:443->[2001:db8::1]:5: i/o timeout":             "read tcp (address)->(address): i/o timeout",
		"http: panic serving [fe80::1%eth0]:5: runtime error: index [5]":   "http: panic serving (address): runtime error: index [5]",
		"http2: server connection error from [::ffff:192.0.2.1]:1: EOF":    "http2: server connection error from (address): EOF",
		"tls: client offered only unsupported versions: [302 301] in 1.22": "tls: client offered only unsupported versions: [302 301] in 1.22",
	} {
		if got := anonymous(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}
