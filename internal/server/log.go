package server

import (
	"bytes"
	"context"
	"log/slog"
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
	s.log.Log(context.Background(), level, strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}
