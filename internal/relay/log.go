package relay

import (
	"log/slog"

	"github.com/pion/logging"
)

// logs forwards pion's log without its arguments, which contain addresses and user names.
// Most messages are about unauthenticated clients.
type logs struct{ log *slog.Logger }

func (l logs) NewLogger(string) logging.LeveledLogger { return l }

// Dropped: every packet causes several of these.

func (logs) Trace(string)          {}
func (logs) Tracef(string, ...any) {}
func (logs) Debug(string)          {}
func (logs) Debugf(string, ...any) {}

// Only the format is certain not to contain an address.

func (l logs) Info(string)                    {}
func (l logs) Infof(format string, _ ...any)  { l.log.Debug("turn", "event", format) }
func (l logs) Warn(string)                    {}
func (l logs) Warnf(format string, _ ...any)  { l.log.Debug("turn", "event", format) }
func (l logs) Error(string)                   {}
func (l logs) Errorf(format string, _ ...any) { l.log.Debug("turn", "event", format) }
