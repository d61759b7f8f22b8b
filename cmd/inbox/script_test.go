package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	replaceForTests()
	testscript.Main(m, map[string]func(){"inbox": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }})
}

// The command line as people use it. In addition to the commands of testscript, there are:
//
//	up [FLAG...]          starts a server on a free port; $URL is its address
//	down [SIGNAL]         stops it (TERM) and fails unless it exits with 0
//	log                   prints what the server has written so far
//	http METHOD PATH [-u ID:PASSWORD] [-d BODY] [-H LINE]
//	                      prints the status, the header and the body
//	usage COMMAND...      fails unless it exits with 2 and one line
//	fails COMMAND...      fails unless it exits with 1 and one line
//	taken COMMAND...      like fails, with the server's own address to listen on
//	private FILE          fails unless only its owner may read it
//	damage FILE           changes a byte in the middle
func TestServeScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/serve",
		Setup: func(e *testscript.Env) error { e.Values["server"] = new(scriptServer); return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"up": up, "down": down, "log": printLog, "http": request,
			"usage":   func(ts *testscript.TestScript, _ bool, args []string) { oneLine(ts, 2, args) },
			"fails":   func(ts *testscript.TestScript, _ bool, args []string) { oneLine(ts, 1, args) },
			"taken":   taken,
			"private": private, "damage": damage,
		},
	})
}

// scriptServer is the server of a script.
type scriptServer struct {
	cmd *exec.Cmd
	log strings.Builder
	end chan struct{} // closed when its standard error ends
}

var listening = regexp.MustCompile(`msg=listening url=(\S+)|"msg":"listening","url":"([^"]+)"`)

func up(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value("server").(*scriptServer)
	s.log.Reset()
	s.end = make(chan struct{})
	s.cmd = exec.Command("inbox", append([]string{"serve", "--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0"}, args...)...)
	s.cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{
		"PATH", "HOME", "GOMEMLIMIT",
		"INBOX_INBOX_TTL", "INBOX_LOG_LEVEL", "INBOX_LOG_FORMAT", "INBOX_BASE_PATH", "INBOX_DRAIN", "INBOX_REDIS_PASSWORD",
		"INBOX_CONFIG", "INBOX_TYPO", "INBOX_TTL", "INBOX_PORT", "INBOX_PORT_80_TCP_ADDR", "INBOX_SERVICE_HOST",
	} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	s.cmd.Env = append(s.cmd.Env, "XDG_STATE_HOME="+ts.MkAbs("state"))
	s.cmd.Env = slices.DeleteFunc(s.cmd.Env, func(v string) bool { return strings.HasSuffix(v, "=") })
	stderr, err := s.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ts.Defer(func() { s.cmd.Process.Kill() })
	found := make(chan string, 1)
	go func() {
		defer close(s.end)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			s.log.WriteString(lines.Text() + "\n")
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1] + m[2]:
				default:
				}
			}
		}
	}()
	select {
	case url := <-found:
		ts.Setenv("URL", strings.TrimSuffix(url, "/"))
	case <-s.end:
		ts.Fatalf("the server did not start: %s", s.log.String())
	case <-time.After(30 * time.Second):
		ts.Fatalf("the server did not log its address")
	}
}

func down(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value("server").(*scriptServer)
	signal := syscall.SIGTERM
	if len(args) > 0 && args[0] == "INT" {
		signal = syscall.SIGINT
	}
	ts.Check(s.cmd.Process.Signal(signal))
	<-s.end
	if err := s.cmd.Wait(); (err == nil) == neg {
		ts.Fatalf("the server exited with %v\n%s", err, s.log.String())
	}
}

// printLog requires the server to be down, so that the log is complete.
func printLog(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value("server").(*scriptServer)
	<-s.end
	fmt.Fprint(ts.Stdout(), s.log.String())
}

var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // tests use self-signed certificates
	DisableKeepAlives: true,
}}

func request(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: http METHOD PATH [-u ID:PASSWORD] [-d BODY] [-H LINE]")
	}
	r, err := http.NewRequest(args[0], ts.Getenv("URL")+args[1], nil)
	ts.Check(err)
	for i := 2; i+1 < len(args); i += 2 {
		switch name, value, _ := strings.Cut(args[i+1], ":"); args[i] {
		case "-u":
			r.SetBasicAuth(name, value)
		case "-H":
			r.Header.Set(name, strings.TrimSpace(value))
		case "-d":
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(args[i+1])), int64(len(args[i+1]))
		}
	}
	res, err := client.Do(r)
	ts.Check(err)
	defer res.Body.Close()
	fmt.Fprintln(ts.Stdout(), res.Proto, res.StatusCode)
	res.Header.Write(ts.Stdout())
	fmt.Fprintln(ts.Stdout())
	_, err = io.Copy(ts.Stdout(), res.Body)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout())
}

func oneLine(ts *testscript.TestScript, code int, args []string) {
	err := ts.Exec(args[0], args[1:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != code {
		ts.Fatalf("want exit code %d: %v", code, err)
	}
	if lines := strings.Count(ts.ReadFile("stderr"), "\n"); lines != 1 {
		ts.Fatalf("%d lines, want one", lines)
	}
}

func taken(ts *testscript.TestScript, _ bool, args []string) {
	_, address, _ := strings.Cut(ts.Getenv("URL"), "//")
	oneLine(ts, 1, append(args, "--listen="+address))
}

func private(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if info.Mode().Perm() != 0o600 {
		ts.Fatalf("its mode is %v", info.Mode())
	}
}

func damage(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	content[len(content)/2] ^= 1
	ts.Check(os.WriteFile(path, content, 0o600))
}
