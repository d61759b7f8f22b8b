package server

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"

	"inbox/internal/throttle"
)

// serverLog is the destination of net/http's log, most of which is about connections of
// strangers.
type serverLog struct {
	log    *slog.Logger
	accept throttle.EachSecond // throttles the warning that no connection is accepted
}

func (s *serverLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	switch {
	case bytes.HasPrefix(line, []byte("http: panic")):
		level = slog.LevelError
	case bytes.HasPrefix(line, []byte("http: Accept error")): // out of descriptors; repeats soon
		if s.accept.Allow() {
			level = slog.LevelWarn
		}
	}
	s.log.Log(context.Background(), level, anonymous(strings.TrimSuffix(string(line), "\n")))
	return len(line), nil
}

// address matches an IPv4 address, or an IPv6 address with a port.
var address = regexp.MustCompile(`(\d{1,3}\.){3}\d{1,3}(:\d+)?|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[^\]\s]*)?\](:\d+)?`)

// anonymous removes the addresses of clients from an error of net or net/http.
func anonymous(text string) string { return address.ReplaceAllString(text, "(address)") }
