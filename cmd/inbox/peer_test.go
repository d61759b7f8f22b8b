package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"inbox"
	inboxclient "inbox/client"
	"inbox/internal/inboxtest"
)

// The commands of a peer. In addition to the commands of the other scripts, there are:
//
//	exits CODE COMMAND...  fails unless it exits with that code and one line
//	until FILE TEXT        waits until a file contains a text
//
// $PROXY is a proxy that wants separate credentials. $SILENT accepts connections and
// never responds.
func TestPeerScripts(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="staging"`)
		http.Error(w, "<h1>401</h1>", http.StatusUnauthorized)
	}))
	t.Cleanup(proxy.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	testscript.Run(t, testscript.Params{
		Dir: "testdata/peer",
		Setup: func(e *testscript.Env) error {
			e.Values["server"] = new(scriptServer)
			e.Vars = append(e.Vars, quickEnd, "PROXY="+proxy.URL, "SILENT=http://"+silent.Addr().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"up": up, "down": down, "log": printLog, "http": request,
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				code, err := strconv.Atoi(args[0])
				ts.Check(err)
				oneLine(ts, code, args[1:])
			},
			"until": func(ts *testscript.TestScript, _ bool, args []string) {
				inboxtest.Until(t, args[0]+" holds "+args[1], func() bool {
					content, err := os.ReadFile(ts.MkAbs(args[0]))
					return err == nil && strings.Contains(string(content), args[1])
				})
			},
		},
	})
}

// quickEnd makes programs with the race detector exit immediately instead of waiting a
// second for late races.
const quickEnd = "GORACE=atexit_sleep_ms=0"

func TestExitCodes(t *testing.T) {
	for want, errs := range map[int][]error{
		0:   {nil},
		1:   {errors.New("whatever"), inbox.ErrFull, &inboxclient.RetryError{Last: inbox.ErrFull}},
		2:   {usageError{errors.New("whatever")}},
		3:   {errNothing},
		4:   {inbox.ErrNoInbox, &inboxclient.RetryError{Last: &inboxclient.Error{Code: "no-such-inbox", Status: 404}}},
		5:   {inbox.ErrUnauthorized},
		6:   {inbox.ErrReplaced, inbox.ErrClosed},
		130: {errInterrupted},
	} {
		if !strings.Contains(exitCodes, fmt.Sprint("\n  ", want, " ")) {
			t.Errorf("the help does not mention %d", want)
		}
		for _, err := range errs {
			if got := exitCode(err); got != want {
				t.Errorf("exit code %d for %v, want %d", got, err, want)
			}
		}
	}
}

// A command without progress for two seconds reports once what it is doing, and again
// after each time it had contact.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards noted
		var noted []string
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			noted = append(noted, text)
		}
		how := &progress{
			note: note, server: "http://inbox.test/inbox",
			limit: "for up to 30s", wait: "for up to 1m0s",
		}
		log := slog.New(how).With("a", "b").WithGroup("c")
		fail := func(err error) { log.Debug("trying again", "in", time.Second, "after", err) }
		want := func(lines ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if strings.Join(noted, "\n") != strings.Join(lines, "\n") {
				t.Errorf("noted %q, want %q", noted, lines)
			}
			noted = nil
		}
		how.begin()
		time.Sleep(quietPeriod - 1)
		want()
		time.Sleep(1 * time.Nanosecond)
		want("trying to reach http://inbox.test/inbox for up to 30s: no response yet")
		fail(errors.New("cannot reach the server: connection refused"))
		time.Sleep(time.Minute)
		want()

		log.Debug("receiving", "transport", "socket")
		time.Sleep(time.Minute)
		want()
		fail(errors.New("cannot reach the server: connection refused"))
		time.Sleep(time.Second)
		fail(errors.New("cannot reach the server: connection reset"))
		time.Sleep(time.Second)
		want("trying to reach http://inbox.test/inbox for up to 30s: connection reset")

		log.Debug("receiving", "transport", "long poll")
		fail(&inboxclient.Error{Status: 503, Code: "inbox-full"})
		time.Sleep(quietPeriod)
		want("retrying for up to 30s: inbox-full: the recipient's inbox is full")
		log.Debug("sent", "transport", "request")
		fail(&inboxclient.Error{Status: 404, Code: "no-such-inbox"})
		time.Sleep(quietPeriod)
		want("waiting for up to 1m0s for the recipient to open an inbox")

		log.Debug("sent", "transport", "request")
		fail(errors.New("away"))
		time.Sleep(time.Second)
		log.Debug("sent", "transport", "request")
		time.Sleep(time.Minute)
		want()
		fail(errors.New("away"))
		how.end()
		time.Sleep(time.Minute)
		want()
	})
}

// bash and fish complete a line as at a terminal. testdata/peer/completion.txtar tests
// zsh.
func TestCompletion(t *testing.T) {
	wants := [][2]string{
		{"inbox |se", "send serve setup"},
		{"inbox |--ba", "--base-path"},
		{"inbox serve |--tls-", "--tls-cert --tls-directory --tls-directory-ca --tls-domain --tls-email --tls-key --tls-storage"},
		{"inbox serve --tls |s", "self-signed"},
		{"inbox send --to bob |--pass", "--password --password-file"},
		{"inbox completion |z", "zsh"},
		{"inbox receive --follow |--fo", "--follow"},
		{"inbox receive --timeout |nothing", ""},
		{"inbox receive --timeout |", ""},
		{"inbox send --to bob |main_test.g", ""},
		{"inbox send --to bob |redistls", "redistls_test.go"},
		{"inbox send --to bob --password-file |redistls", "redistls_test.go"},
		{"inbox --tls-cert |redistls", "redistls_test.go"},
		{"inbox serve --config |config_", "config_test.go"},
	}
	for shell, program := range map[string]string{
		"bash": `source <(inbox completion bash)
			eval "registered=($(complete -p inbox))"
			complete_line() { echo $(COMP_LINE="$1 $2" COMP_POINT=$((${#1} + 1 + ${#2})) "${registered[2]}"); }`,
		"fish": `inbox completion fish | source
			function complete_line; echo (complete -C "$argv[1] $argv[2]" | cut -f1); end`,
	} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip("not available here")
			}
			for _, want := range wants {
				words, last, _ := strings.Cut(want[0], " |")
				program += "\ncomplete_line '" + words + "' '" + last + "'"
			}
			cmd := exec.Command(shell, "-c", program)
			cmd.Env = append(os.Environ(), quickEnd)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			lines := strings.Split(string(out), "\n")
			for i, want := range wants {
				got := strings.Fields(lines[min(i, len(lines)-1)])
				slices.Sort(got)
				if strings.Join(got, " ") != want[1] {
					t.Errorf("%s: %q, want %q", want[0], got, want[1])
				}
			}
		})
	}
}
