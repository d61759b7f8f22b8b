package acme

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"go.uber.org/zap/zapcore"
)

// bridge forwards certmagic's log, which uses zap, to slog. Almost everything is logged
// at debug level, since the Manager itself logs what operators need to know.
type bridge struct {
	log     *slog.Logger
	trouble func(error)
}

var _ zapcore.Core = (*bridge)(nil)

// Enabled implements zapcore.Core.
func (b *bridge) Enabled(level zapcore.Level) bool {
	return level > zapcore.DebugLevel || b.log.Enabled(context.Background(), slog.LevelDebug)
}

// With implements zapcore.Core. It drops the fields, which contain addresses and more.
func (b *bridge) With([]zapcore.Field) zapcore.Core { return b }

// Check implements zapcore.Core.
func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) && !strings.HasSuffix(e.LoggerName, "handshake") { // several per connection
		return c.AddCore(e, b)
	}
	return c
}

// Write implements zapcore.Core.
func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	var attrs []any
	var failure string
	for _, f := range fields {
		switch {
		case f.Type == zapcore.ErrorType:
			if err, ok := f.Interface.(error); ok && err != nil {
				failure = redact(err.Error(), nil)
				attrs = append(attrs, "error", failure)
			}
		case f.Key == "identifier" || f.Key == "challenge" || f.Key == "challenge_type":
			attrs = append(attrs, f.Key, f.String)
		}
	}
	switch {
	case e.Message == "unable to unlock", e.Message == "loading renewed certificate",
		e.Message == "job failed" && (strings.Contains(failure, "storage check") || strings.Contains(failure, "acquire lock")):
		b.trouble(errors.New(failure))
	case e.Message == "panic":
		b.log.Error("panic in certificate renewal, which continues", "stack", e.Stack)
	default:
		b.log.Debug("certificates: "+e.Message, attrs...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (b *bridge) Sync() error { return nil }
