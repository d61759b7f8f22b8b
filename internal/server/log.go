package server

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"

	"inbox/internal/throttle"
)

// serverLog takes what net/http has to say, most of which is about connections
// of strangers.
type serverLog struct {
	log    *slog.Logger
	accept throttle.EachSecond // warnings that no connection is accepted
}

func (s *serverLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	switch {
	case bytes.HasPrefix(line, []byte("http: panic")):
		level = slog.LevelError
	case bytes.HasPrefix(line, []byte("http: Accept error")): // no descriptor is left, and soon again
		if s.accept.Allow() {
			level = slog.LevelWarn
		}
	}
	s.log.Log(context.Background(), level, anonymous(strings.TrimSuffix(string(line), "\n")))
	return len(line), nil
}

// address is one of IPv4, or one of IPv6 with a port.
var address = regexp.MustCompile(`(\d{1,3}\.){3}\d{1,3}(:\d+)?|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[^\]\s]*)?\](:\d+)?`)

// anonymous returns a text of net or net/http without the addresses of clients, which
// nobody asked to log.
func anonymous(text string) string { return address.ReplaceAllString(text, "(address)") }
