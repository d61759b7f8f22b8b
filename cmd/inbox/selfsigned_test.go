package main

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// shown returns the serial number of the certificate that a server presents.
func shown(t *testing.T, r *running) string {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	if err := leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	return leaf.SerialNumber.String()
}

// A restart presents the certificate of the previous start, from a file that only its
// owner can read.
func TestSelfSignedIsKept(t *testing.T) {
	for name, place := range map[string]func(t *testing.T, dir string) (flags []string, file string){
		"next to the snapshot": func(t *testing.T, dir string) ([]string, string) {
			t.Setenv("STATE_DIRECTORY", t.TempDir()) // not used
			snapshot := filepath.Join(dir, "inbox.snapshot")
			return []string{"--snapshot=" + snapshot}, snapshot + ".tls.pem"
		},
		"in the state directory of systemd": func(t *testing.T, dir string) ([]string, string) {
			t.Setenv("STATE_DIRECTORY", dir+":/elsewhere")
			return nil, filepath.Join(dir, "self-signed.tls.pem")
		},
		"in the state directory of the user": func(t *testing.T, dir string) ([]string, string) {
			t.Setenv("XDG_STATE_HOME", dir)
			return nil, filepath.Join(dir, "inbox", "self-signed.tls.pem")
		},
		"in the home of the user": func(t *testing.T, dir string) ([]string, string) {
			t.Setenv("XDG_STATE_HOME", "")
			t.Setenv("HOME", dir)
			return nil, filepath.Join(dir, ".local", "state", "inbox", "self-signed.tls.pem")
		},
	} {
		t.Run(name, func(t *testing.T) {
			flags, file := place(t, t.TempDir())
			flags = append(flags, "--tls=self-signed", "--drain=0s")
			start := func() string {
				r := serve(t, flags...)
				defer r.end(t)
				return shown(t, r)
			}
			first := start()
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != 0o600 {
				t.Errorf("%s has the mode %v", file, info.Mode())
			}
			if second := start(); second != first {
				t.Error("a restart presented another certificate")
			}
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
			third := start()
			if third == first {
				t.Error("a key that others can read is used")
			}
			if info, err = os.Stat(file); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s has the mode %v (%v)", file, info.Mode(), err)
			}
			if start() != third {
				t.Error("the new certificate was not kept")
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".inbox-*")); len(left) > 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

// If the certificate cannot be kept, the server starts and logs a warning.
func TestSelfSignedCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", file) // cannot contain a directory
	r := serve(t, "--tls=self-signed", "--drain=0s")
	shown(t, r)
	r.end(t)
	if log := r.log.String(); !strings.Contains(log, "cannot keep") {
		t.Errorf("the log: %s", log)
	}
}

// A certificate is replaced shortly before it expires, while the server runs too, when it
// does not cover a name of this machine, and when the file does not contain one of ours.
func TestSelfSignedIsReplaced(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := t.TempDir()
	renewed := func(t *testing.T, content []byte) {
		t.Helper()
		file := filepath.Join(dir, "x.pem")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		made, err := (&keptCertificate{file: file, log: log}).get(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readSelfSigned(file, ourNames(), time.Now()); err != nil {
			t.Errorf("the new certificate cannot be used: %v", err)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) == string(content) || made.Leaf.NotAfter.Before(time.Now().Add(80*24*time.Hour)) {
			t.Errorf("the file was not replaced (%v), the certificate expires %v", err, made.Leaf.NotAfter)
		}
	}
	made := func(n names, at time.Time) []byte {
		_, content, err := selfSigned(n, at)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	ours := ourNames()
	other := names{append([]string{"another.example"}, ours.hosts[1:]...), ours.addresses}
	fewer := names{ours.hosts, []net.IP{net.IPv6loopback, net.IPv4(192, 0, 2, 1)}}
	for name, content := range map[string][]byte{
		"it has ended":       made(ours, time.Now().AddDate(0, 0, -91)),
		"it ends soon":       made(ours, time.Now().AddDate(0, 0, -84)),
		"it begins later":    made(ours, time.Now().AddDate(0, 0, 2)),
		"a name is missing":  made(other, time.Now()),
		"an address is":      made(fewer, time.Now()),
		"it is empty":        nil,
		"it is not PEM":      []byte("hello\n"),
		"it is cut":          made(ours, time.Now())[:500],
		"it is another file": []byte(strings.Repeat("-----BEGIN CERTIFICATE-----\n", 3)),
	} {
		t.Run(name, func(t *testing.T) { renewed(t, content) })
	}
	t.Run("the server runs for 90 days", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := &keptCertificate{file: filepath.Join(dir, "y.pem"), log: log}
			first, err := k.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(80 * 24 * time.Hour)
			if same, _ := k.get(nil); same != first {
				t.Error("it was replaced too early")
			}
			time.Sleep(9 * 24 * time.Hour)
			second, err := k.get(nil)
			if err != nil || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
				t.Errorf("after 89 days it was not replaced (%v)", err)
			}
			if kept, err := readSelfSigned(k.file, ourNames(), time.Now()); err != nil || kept.Leaf.SerialNumber.Cmp(second.Leaf.SerialNumber) != 0 {
				t.Errorf("the file contains another certificate (%v)", err)
			}
		})
	})
	t.Run("there is a new IPv6 address", func(t *testing.T) {
		content := made(names{ours.hosts, []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Now())
		file := filepath.Join(dir, "z.pem")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSelfSigned(file, names{ours.hosts, []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP("2001:db8::1")}}, time.Now()); err != nil {
			t.Errorf("the certificate is not used: %v", err)
		}
	})
}
