package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"inbox/internal/inboxtest"
)

func TestCheckName(t *testing.T) {
	for _, c := range []struct{ name, directory, want string }{
		{"signal.example.com", letsEncrypt, "signal.example.com"},
		{"Signal.Example.COM.", letsEncrypt, "signal.example.com"},
		{"müller.example", letsEncrypt, "xn--mller-kva.example"},
		{"203.0.113.5", "https://x/", "203.0.113.5"},
		{"2001:DB8::1", "https://x/", "2001:db8::1"},
		{"9.9.9.9", letsEncrypt, "9.9.9.9"},
		{"localhost", "https://x/", "localhost"},
		{"inbox.internal", "https://x/", "inbox.internal"},
		{"localhost", letsEncrypt, ""}, {"inbox.internal", letsEncryptStaging, ""}, {"192.168.1.1", letsEncrypt, ""},
		{"*.example.com", letsEncrypt, ""}, {"fe80::1%eth0", "https://x/", ""},
		{"", "https://x/", ""}, {"https://example.com", "https://x/", ""}, {"example.com:443", "https://x/", ""},
		{"exa mple.com", "https://x/", ""}, {"example..com", "https://x/", ""}, {strings.Repeat("a", 64) + ".com", "https://x/", ""},
		{"a_b.example.com", "https://x/", ""}, {"me@example.com", "https://x/", ""}, {"example.com/x", "https://x/", ""}, {"../x", "https://x/", ""},
	} {
		got, err := CheckName(c.name, c.directory)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestDirectory(t *testing.T) {
	for s, want := range map[string]string{
		"letsencrypt": letsEncrypt, "letsencrypt-staging": letsEncryptStaging, "https://ca.internal/acme/acme/directory": "https://ca.internal/acme/acme/directory",
		"": "", "http://ca.internal/": "", "zerossl": "", "https://": "", "https://user:secret@ca/": "", "https://ca/#x": "", "ftp://ca": "",
	} {
		if got, err := Directory(s); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
}

func TestWaits(t *testing.T) {
	now := time.Now()
	ago := func(minutes ...int) (r record) {
		for _, m := range minutes {
			r.Failed = append(r.Failed, now.Add(-time.Duration(m)*time.Minute))
		}
		return r
	}
	full := ago(50, 40, 30, 20, 10, 5, 3, 2)
	failed := func(minutes, count int) failure {
		return failure{at: now.Add(-time.Duration(minutes) * time.Minute), count: count}
	}
	for _, c := range []struct {
		r    record
		last failure // zero if the server has just started
		want time.Duration
	}{
		{ago(), failure{}, 0}, {ago(0), failure{}, 0},
		{ago(0), failed(0, 1), time.Minute}, {ago(2), failed(2, 1), -time.Minute},
		{ago(), failed(1, 2), time.Minute},            // the authority was unreachable
		{ago(5, 3, 0), failed(3, 1), 5 * time.Minute}, // another server has failed since
		{full, failure{}, 10 * time.Minute}, {full, failed(2, 8), 28 * time.Minute},
		{ago(70, 60, 59, 58, 20, 10, 5, 3), failure{}, 0},
		{ago(-600, -600, -600, -600, -600, -600, -600, -600), failure{}, time.Hour}, // the clock was wrong
	} {
		if got := c.r.wait(now, DefaultPause, c.last); max(got, 0) != max(c.want, 0) {
			t.Errorf("%v, %v: waits %v, want %v", c.r, c.last, got, c.want)
		}
	}
	last := time.Duration(0)
	for n := range 100 {
		if p := DefaultPause(n); p < last || p < time.Minute || p > 6*time.Hour {
			t.Errorf("after %d failures the pause is %v", n, p)
		} else {
			last = p
		}
	}
	if got := ago(50, 40, 30, 20).full(now, maxRenewing); got != 10*time.Minute {
		t.Errorf("renewals wait %v", got)
	}
}

func TestExplain(t *testing.T) {
	m := &Manager{Config: Config{Names: []string{"signal.example.com"}}, names: []string{"signal.example.com"}}
	problem := func(kind, detail string, sub ...acme.Subproblem) error {
		return fmt.Errorf("[x] Obtain: %w", acme.Problem{Type: acme.ProblemTypeNamespace + kind, Detail: detail, Subproblems: sub})
	}
	request := func(err error) error {
		return fmt.Errorf("y: %w", &url.Error{Op: "Get", URL: "https://ca/dir", Err: err})
	}
	for _, c := range []struct {
		err  error
		want []string
	}{
		{problem("dns", "no A record"), []string{"check DNS", "no A record"}},
		{problem("connection", "Timeout"), []string{"DNS", "port 443"}},
		{problem("unauthorized", "wrong key"), []string{"another server answers", "DNS"}},
		{problem("tls", "alert"), []string{"another server answers"}},
		{problem("caa", ""), []string{"CAA"}},
		{problem("rateLimited", "too many"), []string{"wait", "letsencrypt-staging"}},
		{problem("rejectedIdentifier", ""), []string{"--tls-domain"}},
		{problem("invalidContact", ""), []string{"--tls-email"}},
		{problem("externalAccountRequired", ""), []string{"--tls-directory"}},
		{problem("badCSR", "no"), []string{"refuses", "no"}},
		{problem("compound", "", acme.Subproblem{Problem: acme.Problem{Type: acme.ProblemTypeNamespace + "caa", Detail: "forbidden"}}), []string{"CAA", "forbidden"}},
		{skewError(-3 * time.Hour), []string{"clock", "3h0m ahead"}},
		{skewError(100 * 24 * time.Hour), []string{"clock", "100 days behind"}},
		{request(x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}), []string{"check it"}},
		{request(x509.UnknownAuthorityError{}), []string{"--tls-directory-ca"}},
		{request(&net.OpError{Op: "dial", Err: errors.New("refused")}), []string{"cannot reach", "outgoing port 443"}},
		{request(&net.DNSError{Name: "ca", Err: "no such host"}), []string{"this machine's DNS", "ca was not found"}},
		{errors.New("HTTP 404: not here"), []string{"--tls-directory", "404"}},
	} {
		what, detail := m.explain(c.err)
		for _, want := range c.want {
			if !strings.Contains(what+" "+detail, want) {
				t.Errorf("%v: %s (%s), want %q", c.err, what, detail, want)
			}
		}
	}
	m.HTTP = true
	if what, _ := m.explain(problem("connection", "")); !strings.Contains(what, "port 443 or 80") {
		t.Error(what)
	}
}

func TestRedact(t *testing.T) {
	const token = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
	const long = "a-name-that-is-longer-than-most-tokens-are.example.com"
	got := redact("Fetching http://"+long+"/.well-known/acme-challenge/"+token+":\nTimeout,  expected \""+token+"."+token+"\" "+strings.Repeat("x ", 1000), []string{long})
	if strings.Contains(got, token[:22]) || !strings.Contains(got, "http://"+long+"/.well-known/acme-challenge/...: Timeout, expected") || len(got) > maxDetail+3 || strings.Contains(got, "\n") {
		t.Errorf("got %q", got)
	}
}

// With a clock that is hours wrong, nothing is ordered.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		ahead time.Duration
		wrong bool
	}{{0, false}, {59 * time.Minute, false}, {-2 * time.Hour, true}, {200 * 24 * time.Hour, true}} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(-c.ahead).UTC().Format(http.TimeFormat))
		}))
		storage, err := NewDirectory(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var log inboxtest.Log
		m := New(Config{
			Names: []string{"x.example.com"}, Directory: server.URL, Roots: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
			Storage: storage, Address: &net.TCPAddr{}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		err = m.event(t.Context(), "cert_obtaining", map[string]any{"identifier": "x.example.com"})
		if (err != nil) != c.wrong || c.wrong != strings.Contains(log.String(), "clock seems wrong") {
			t.Errorf("%v: %v\n%s", c.ahead, err, &log)
		}
		server.Close()
		if err := m.event(t.Context(), "cert_obtaining", map[string]any{"identifier": "x.example.com"}); err != nil {
			t.Errorf("an unreachable authority: %v", err)
		}
		m.cache.Stop()
	}
}

func TestContainer(t *testing.T) {
	const (
		root   = "22 1 0:20 / / rw - overlay overlay rw,lowerdir=/x"
		disk   = "22 1 8:1 / / rw - ext4 /dev/sda1 rw"
		volume = `23 22 8:1 /var/lib/docker/volumes/a/_data /my\040state rw - ext4 /dev/sda1 rw`
		memory = "24 22 0:30 / /run rw - tmpfs tmpfs rw"
		empty  = "25 22 8:1 /var/lib/kubelet/pods/x/volumes/kubernetes.io~empty-dir/s /empty rw - ext4 /dev/sda1 rw"
	)
	mounts := func(lines ...string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.Join(lines, "\n") + "\n")}
	}
	in := mounts(root, volume, memory, empty, "nonsense")
	file := &fstest.MapFile{}
	group := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		fs   fstest.MapFS
		env  string
		dir  string
		want string
	}{
		"a machine":                  {fstest.MapFS{"proc/self/mountinfo": mounts(disk), "proc/1/cgroup": group("0::/init.scope\n")}, "", "/var/lib/inbox", ""},
		"docker":                     {fstest.MapFS{".dockerenv": file, "proc/self/mountinfo": in}, "", "/var/lib/inbox", "Docker"},
		"docker, a volume":           {fstest.MapFS{".dockerenv": file, "proc/self/mountinfo": in}, "", "/my state/acme", ""},
		"docker, next to a volume":   {fstest.MapFS{".dockerenv": file, "proc/self/mountinfo": in}, "", "/my state2", "own file system"},
		"podman, in memory":          {fstest.MapFS{"run/.containerenv": file, "proc/self/mountinfo": in}, "", "/run/inbox", "in memory (/run)"},
		"kubernetes, emptyDir":       {fstest.MapFS{"proc/self/mountinfo": in}, "10.0.0.1", "/empty", "emptyDir"},
		"kubernetes, a volume":       {fstest.MapFS{"proc/self/mountinfo": in}, "10.0.0.1", "/my state", ""},
		"containerd, by cgroup":      {fstest.MapFS{"proc/1/cgroup": group("1:name=systemd:/system.slice/containerd.service/x\n"), "proc/self/mountinfo": in}, "", "/x", "containerd"},
		"a kernel that hides mounts": {fstest.MapFS{".dockerenv": file}, "", "/x", ""},
	} {
		err := checkDirectory(c.fs, func(string) string { return c.env }, c.dir)
		if (err != nil) != (c.want != "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--tls-storage")) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// memory implements Files in memory.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	locks map[string]bool

	foreign map[string]bool // files that cannot be decrypted
}

func (m *memory) Load(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if content, ok := m.files[name]; ok && !m.foreign[name] {
		return content, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Store(_ context.Context, name string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = slices.Clone(content)
	delete(m.foreign, name)
	return nil
}

func (m *memory) Delete(_ context.Context, names ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		delete(m.files, name)
	}
	return nil
}

func (m *memory) Names(context.Context) (names []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.files {
		names = append(names, name)
	}
	return names, nil
}

func (m *memory) TryLock(_ context.Context, name string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return false, nil
	}
	m.locks[name] = true
	return true, nil
}

func (m *memory) Unlock(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.locks, name)
	return nil
}

// For certmagic, shared files behave like a directory.
func TestSharedBehavesLikeDirectory(t *testing.T) {
	directory, err := NewDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	transcript := func(s Storage) (lines []string) {
		note := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
		for _, key := range []string{"a/b/c.crt", "a/b/c.key", "a/d", "e", "ab/c"} {
			note("store %v", s.Store(ctx, key, []byte(key)))
		}
		look := func() {
			for _, key := range []string{"a", "a/b", "a/b/c.crt", "a/b/c", "e", "x", "a/x", "ab"} {
				content, err := s.Load(ctx, key)
				info, failed := s.Stat(ctx, key)
				note("%s: %q %v, %v, %v %d %v", key, content, err == nil, s.Exists(ctx, key), info.IsTerminal, len(info.Key), errors.Is(failed, fs.ErrNotExist))
			}
			for _, key := range []string{"a", "a/b", "x", "ab"} {
				for _, recursive := range []bool{true, false} {
					keys, err := s.List(ctx, key, recursive)
					slices.Sort(keys)
					note("list %s %v: %v %v", key, recursive, keys, err == nil)
				}
			}
		}
		look()
		note("delete %v %v %v", s.Delete(ctx, "x"), s.Delete(ctx, "e"), s.Delete(ctx, "a/b"))
		look()
		note("lock %v", s.Lock(ctx, "one"))
		ok, err := s.TryLock(ctx, "one")
		note("again %v %v", ok, err)
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		note("waits %v", errors.Is(s.Lock(short, "one"), context.DeadlineExceeded))
		note("unlock %v", s.Unlock(ctx, "one"))
		ok, err = s.TryLock(ctx, "one")
		note("free %v %v %v", ok, err, s.Unlock(ctx, "one"))
		return lines
	}
	want, got := transcript(directory), transcript(NewShared(&memory{files: make(map[string][]byte), locks: make(map[string]bool)}))
	for i := range want {
		if want[i] != got[i] && !strings.Contains(want[i], `"" false, true, false`) { // sizes of directories differ
			t.Errorf("a directory: %s\nshared:      %s", want[i], got[i])
		}
	}
}
