package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"inbox/internal/inboxtest"
)

// healthcheck returns the exit code and the output of "inbox healthcheck".
func healthcheck(flags ...string) (int, string) {
	var out, errs strings.Builder
	code := run(append([]string{"healthcheck"}, flags...), &out, &errs)
	return code, out.String() + errs.String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A healthcheck with the settings of a server, as flags or in the environment, reports
// whether it is ready.
func TestHealthcheck(t *testing.T) {
	path := "unix:" + filepath.Join(t.TempDir(), "inbox.sock")
	for _, flags := range [][]string{
		{"--listen=" + freeAddress(t)},
		{"--listen=" + freeAddress(t), "--base-path=/signal/", "--tls=self-signed"},
		{"--listen=" + path, "--listen=127.0.0.1:0"},
		{"--listen=" + freeAddress(t), "--proxy-protocol", "--trusted-proxy=127.0.0.1"},
		{"--listen=" + freeAddress(t), "--proxy-protocol", "--trusted-proxy=10.0.0.0/8"},
		{"--listen=" + path, "--listen=127.0.0.1:0", "--proxy-protocol", "--trusted-proxy=unix"},
	} {
		t.Run(strings.Join(flags[1:], " "), func(t *testing.T) {
			t.Setenv("XDG_STATE_HOME", t.TempDir())
			if code, said := healthcheck(flags...); code != 1 || !strings.Contains(said, "does not respond") {
				t.Errorf("before the start: exit code %d: %s", code, said)
			}
			cmd, r := process(t, append(flags, "--drain=5s")...)
			if code, said := healthcheck(flags...); code != 0 || said != "" {
				t.Errorf("by flags: exit code %d: %s", code, said)
			}
			for _, flag := range flags {
				name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
				if value == "" {
					value = "true"
				}
				if name != "listen" || !strings.HasSuffix(value, ":0") {
					t.Setenv("INBOX_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), value)
				}
			}
			if code, said := healthcheck(); code != 0 || said != "" {
				t.Errorf("by variables: exit code %d: %s", code, said)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			r.log.await(t, "msg=draining")
			inboxtest.Until(t, "it is not ready any more", func() bool {
				code, said := healthcheck()
				return code == 1 && strings.Contains(said, "is not ready: draining (status 503)")
			})
		})
	}
	for _, flags := range [][]string{{"--nope"}, {"--listen=nonsense"}, {"--listen=systemd"}} {
		if code, said := healthcheck(flags...); code != 2 {
			t.Errorf("%v: exit code %d: %s", flags, code, fmt.Sprint(said))
		}
	}
}
