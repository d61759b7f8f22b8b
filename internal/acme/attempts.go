package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

const (
	// maxObtaining and maxRenewing bound the failed attempts per name and hour, across
	// restarts and all servers that share a storage. Let's Encrypt allows 5 per hour. A
	// failed order is repeated with the staging authority, which allows more, but a
	// failed renewal is not.
	maxObtaining = 8
	maxRenewing  = 4
	perHour      = time.Hour

	// maxRemembered bounds the failures in a record.
	maxRemembered = 16

	// maxSkew is how wrong the clock may be. With a larger error, a new certificate may
	// seem expired and would be replaced over and over.
	maxSkew = time.Hour

	// logInterval is how often the same failure is logged.
	logInterval = time.Hour

	troublePause = 15 * time.Second
)

// DefaultPause returns how long to wait after a number of failures in a row: from a
// minute after the first to six hours.
func DefaultPause(failures int) time.Duration {
	pauses := []time.Duration{1, 2, 5, 10, 10, 10, 20, 30, 60, 60, 120, 120, 180, 360}
	return pauses[min(max(failures, 1), len(pauses))-1] * time.Minute
}

// A record is stored per name. It contains the attempts that the authority has refused
// since the last success.
type record struct {
	Failed []time.Time `json:"failed"`
}

// wait returns how long to wait before the next attempt, given the failures of this
// server and the refusals of all servers. A server that has just started skips the pause,
// since the operator may have fixed the problem.
func (r record) wait(now time.Time, pause func(int) time.Duration, last failure) time.Duration {
	wait := r.full(now, maxObtaining)
	if last.count == 0 {
		return wait
	}
	wait = max(wait, last.at.Add(pause(last.count)).Sub(now))
	if n := len(r.Failed); n > 0 {
		wait = max(wait, r.Failed[n-1].Add(pause(n)).Sub(now))
	}
	return wait
}

// full returns how long to wait until fewer than limit attempts have failed within an
// hour.
func (r record) full(now time.Time, limit int) time.Duration {
	if i := len(r.Failed) - limit; i >= 0 {
		return min(max(0, r.Failed[i].Add(perHour).Sub(now)), perHour)
	}
	return 0
}

func (r record) marshal() []byte {
	content, err := json.Marshal(r)
	if err != nil {
		panic(err) // times can be encoded
	}
	return content
}

func recordKey(name string) string {
	return path.Join("failures", certmagic.StorageKeys.Safe(name)+".json")
}

// record reads the record of a name. An unreadable record counts as empty.
func (m *Manager) record(ctx context.Context, name string) (r record) {
	content, err := m.storage.Load(ctx, recordKey(name))
	if err != nil || json.Unmarshal(content, &r) != nil {
		return record{}
	}
	return r
}

// failure is this server's last failure for a name.
type failure struct {
	at     time.Time
	count  int // in a row
	what   string
	logged time.Time
}

func (m *Manager) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.failures, name)
}

func (m *Manager) failure(name string) failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failures[name]
}

var errTooSoon = errors.New("too many attempts failed within an hour")

// event is called by certmagic before and after an order.
func (m *Manager) event(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	switch event {
	case "cert_obtaining":
		if renewal && m.record(ctx, name).full(time.Now(), maxRenewing) > 0 {
			return errTooSoon
		}
		if err := m.checkClock(ctx); err != nil {
			m.failed(ctx, name, renewal, err)
			return err
		}
	case "cert_failed":
		err, _ := data["error"].(error)
		m.failed(ctx, name, renewal, err)
	case "cert_obtained":
		m.forget(name)
		if err := m.storage.Delete(ctx, recordKey(name)); err != nil {
			m.trouble(err)
		}
		m.Log.Info("certificate issued", "name", name, "renewal", renewal)
	case "cached_managed_cert":
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

// failed records a failure and logs it. The same failure is logged once an hour.
func (m *Manager) failed(ctx context.Context, name string, renewal bool, err error) {
	if err == nil || ctx.Err() != nil {
		return // the server is stopping
	}
	now := time.Now()
	r := m.record(ctx, name)
	if _, refused := errors.AsType[acme.Problem](err); refused {
		r.Failed = append(r.Failed, now)
		r.Failed = r.Failed[max(0, len(r.Failed)-maxRemembered):]
		if err := m.storage.Store(ctx, recordKey(name), r.marshal()); err != nil {
			m.trouble(err)
		}
	}
	what, detail := m.explain(err)
	m.mu.Lock()
	last := m.failures[name]
	again := last.what == what && now.Sub(last.logged) < logInterval
	if !again {
		last.logged = now
	}
	last = failure{at: now, count: last.count + 1, what: what, logged: last.logged}
	m.failures[name] = last
	m.mu.Unlock()
	switch {
	case again:
		m.Log.Debug("still no certificate: "+what, "name", name, "detail", detail)
	case renewal:
		m.Log.Error("cannot renew the certificate: "+what, "name", name, "detail", detail, "until", m.until(name))
	default:
		m.Log.Error("no certificate: "+what, "name", name, "detail", detail, "next_attempt", inWords(r.wait(now, m.Pause, last)))
	}
}

// until returns when the certificate of a name expires.
func (m *Manager) until(name string) (t time.Time) {
	for _, cert := range m.cache.AllMatchingCertificates(name) {
		if cert.Leaf.NotAfter.After(t) {
			t = cert.Leaf.NotAfter
		}
	}
	return t
}

// trouble logs, at most once an hour, that certificates cannot be stored or loaded.
func (m *Manager) trouble(err error) {
	m.mu.Lock()
	now := time.Now()
	due := now.Sub(m.troubled) >= logInterval
	if due {
		m.troubled = now
	}
	m.mu.Unlock()
	if due {
		m.Log.Error("cannot load or store certificates: check --tls-storage and its free space, or Redis", "error", redact(err.Error(), m.names))
	}
}

// A skewError is how far the authority's clock is ahead of this machine's.
type skewError time.Duration

func (s skewError) Error() string {
	if s < 0 {
		return "this machine's clock is " + inWords(-time.Duration(s)) + " ahead of the authority's"
	}
	return "this machine's clock is " + inWords(time.Duration(s)) + " behind the authority's"
}

// checkClock compares this machine's clock with the authority's. If the authority is
// unreachable, it returns nil, since the order gives a better error.
func (m *Manager) checkClock(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Directory, nil)
	if err != nil {
		return nil
	}
	answer, err := m.clock.Do(r)
	if err != nil {
		return nil
	}
	answer.Body.Close()
	theirs, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return nil
	}
	if skew := time.Until(theirs); skew.Abs() > maxSkew {
		return skewError(skew)
	}
	return nil
}

// inWords formats a duration without needless precision.
func inWords(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Minute:
		return d.Round(time.Minute).String()[:len(d.Round(time.Minute).String())-len("0s")]
	}
	return d.Round(time.Second).String()
}
