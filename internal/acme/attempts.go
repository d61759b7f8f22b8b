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
	// mostObtaining and mostRenewing bound the failed attempts for one name in an hour,
	// over restarts and over all servers of a storage. Let's Encrypt allows 5 an hour.
	// An order that failed is repeated with its staging authority, which allows more, but
	// a renewal is not.
	mostObtaining = 8
	mostRenewing  = 4
	perHour       = time.Hour

	// mostRemembered is how many failures a record holds.
	mostRemembered = 16

	// mostSkew is how wrong the clock may be. Beyond it, a new certificate may seem to
	// have expired, and would be replaced by another, and another.
	mostSkew = time.Hour

	// sayEach is how often the same failure is logged.
	sayEach = time.Hour

	troublePause = 15 * time.Second
)

// DefaultPause is a minute after the first failure, and six hours after many.
func DefaultPause(failures int) time.Duration {
	pauses := []time.Duration{1, 2, 5, 10, 10, 10, 20, 30, 60, 60, 120, 120, 180, 360}
	return pauses[min(max(failures, 1), len(pauses))-1] * time.Minute
}

// A record is what the storage knows of the attempts to get a certificate: those that
// the authority has refused since the last success.
type record struct {
	Failed []time.Time `json:"failed"`
}

// wait returns how long to wait before the next attempt, after failures of this server
// and refusals of any. A server that has just started does not wait for the pause:
// somebody may have put right what failed.
func (r record) wait(now time.Time, pause func(int) time.Duration, last failure) time.Duration {
	wait := r.full(now, mostObtaining)
	if last.count == 0 {
		return wait
	}
	wait = max(wait, last.at.Add(pause(last.count)).Sub(now))
	if n := len(r.Failed); n > 0 {
		wait = max(wait, r.Failed[n-1].Add(pause(n)).Sub(now))
	}
	return wait
}

// full returns how long to wait until fewer than most attempts have failed within an hour.
func (r record) full(now time.Time, most int) time.Duration {
	if i := len(r.Failed) - most; i >= 0 {
		return min(max(0, r.Failed[i].Add(perHour).Sub(now)), perHour)
	}
	return 0
}

func (r record) marshal() []byte {
	content, err := json.Marshal(r)
	if err != nil {
		panic(err) // times can be written
	}
	return content
}

func recordKey(name string) string {
	return path.Join("failures", certmagic.StorageKeys.Safe(name)+".json")
}

// record reads the failures of a name. What cannot be read counts as none.
func (m *Manager) record(ctx context.Context, name string) (r record) {
	content, err := m.storage.Load(ctx, recordKey(name))
	if err != nil || json.Unmarshal(content, &r) != nil {
		return record{}
	}
	return r
}

// failure is the last one of this server for a name.
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

var errTooSoon = errors.New("too many attempts have failed within an hour")

// event is what certmagic calls before an order and after it.
func (m *Manager) event(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	switch event {
	case "cert_obtaining":
		if renewal && m.record(ctx, name).full(time.Now(), mostRenewing) > 0 {
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

// failed notes a failure and logs it, the same one once an hour.
func (m *Manager) failed(ctx context.Context, name string, renewal bool, err error) {
	if err == nil || ctx.Err() != nil {
		return // the server is stopping
	}
	now := time.Now()
	r := m.record(ctx, name)
	if _, refused := errors.AsType[acme.Problem](err); refused {
		r.Failed = append(r.Failed, now)
		r.Failed = r.Failed[max(0, len(r.Failed)-mostRemembered):]
		if err := m.storage.Store(ctx, recordKey(name), r.marshal()); err != nil {
			m.trouble(err)
		}
	}
	what, detail := m.explain(err)
	m.mu.Lock()
	last := m.failures[name]
	again := last.what == what && now.Sub(last.logged) < sayEach
	if !again {
		last.logged = now
	}
	last = failure{at: now, count: last.count + 1, what: what, logged: last.logged}
	m.failures[name] = last
	m.mu.Unlock()
	switch {
	case again:
		m.Log.Debug("no certificate, as before: "+what, "name", name, "detail", detail)
	case renewal:
		m.Log.Error("the certificate is not renewed: "+what, "name", name, "detail", detail, "until", m.until(name))
	default:
		m.Log.Error("no certificate: "+what, "name", name, "detail", detail, "next_attempt", inWords(r.wait(now, m.Pause, last)))
	}
}

// until is when the certificate of a name ends.
func (m *Manager) until(name string) (t time.Time) {
	for _, cert := range m.cache.AllMatchingCertificates(name) {
		if cert.Leaf.NotAfter.After(t) {
			t = cert.Leaf.NotAfter
		}
	}
	return t
}

// trouble logs, once an hour, that certificates cannot be kept or loaded.
func (m *Manager) trouble(err error) {
	m.mu.Lock()
	now := time.Now()
	say := now.Sub(m.troubled) >= sayEach
	if say {
		m.troubled = now
	}
	m.mu.Unlock()
	if say {
		m.Log.Error("certificates cannot be loaded or kept: check --tls-storage and its free space, or Redis", "error", redact(err.Error(), m.names))
	}
}

// A skewError says how far the authority's clock is ahead of ours.
type skewError time.Duration

func (s skewError) Error() string {
	if s < 0 {
		return "this machine's clock is " + inWords(-time.Duration(s)) + " ahead of the authority's"
	}
	return "this machine's clock is " + inWords(time.Duration(s)) + " behind the authority's"
}

// checkClock compares our clock with the authority's. If it cannot be reached, the order
// says so better.
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
	if skew := time.Until(theirs); skew.Abs() > mostSkew {
		return skewError(skew)
	}
	return nil
}

// inWords is a duration without needless precision.
func inWords(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Minute:
		return d.Round(time.Minute).String()[:len(d.Round(time.Minute).String())-len("0s")]
	}
	return d.Round(time.Second).String()
}
