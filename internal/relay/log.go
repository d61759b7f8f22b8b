package relay

import (
	"log/slog"

	"github.com/pion/logging"
)

// logs pass on what pion has to say, without what it has to say it about: addresses and
// user names. Most of it is about strangers.
type logs struct{ log *slog.Logger }

func (l logs) NewLogger(string) logging.LeveledLogger { return l }

// A packet makes several of these.

func (logs) Trace(string)          {}
func (logs) Tracef(string, ...any) {}
func (logs) Debug(string)          {}
func (logs) Debugf(string, ...any) {}

// Of the others, only the format is known to hold no address.

func (l logs) Info(string)                    {}
func (l logs) Infof(format string, _ ...any)  { l.log.Debug("turn", "event", format) }
func (l logs) Warn(string)                    {}
func (l logs) Warnf(format string, _ ...any)  { l.log.Debug("turn", "event", format) }
func (l logs) Error(string)                   {}
func (l logs) Errorf(format string, _ ...any) { l.log.Debug("turn", "event", format) }
