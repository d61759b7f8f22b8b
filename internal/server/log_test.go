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

// What net/http says of strangers is for who asks for it. What an operator has to
// know is not, and does not fill the disk.
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
	})
}
