package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// interrupted starts a command of a peer and interrupts it once ready has returned.
func interrupted(t *testing.T, url string, ready func(stdin io.Writer, stdout io.Reader), args ...string) {
	t.Helper()
	cmd := exec.Command("inbox", args...)
	cmd.Env = append(os.Environ(), quickEnd, "INBOX_SERVER="+url+"/inbox", "INBOX_ID=alice", "INBOX_PASSWORD=a")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	ready(stdin, stdout)
	cmd.Process.Signal(syscall.SIGTERM)
	state, err := cmd.Process.Wait() // both pipes stay open until it has exited
	if err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	stdout.Close()
	if code := state.ExitCode(); code != 130 {
		t.Errorf("%s: %v, want the exit code 130", strings.Join(args, " "), state)
	}
}

// An interrupted command does not wait for the program that it reads from or writes to.
func TestInterrupted(t *testing.T) {
	r := serve(t, "--drain=0s", "--max-body=256KiB", "--inbox-bytes=1MiB")
	defer r.end(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	large := strings.Repeat("x", 256<<10) // more than a pipe can buffer

	// Once all but a pipe's buffer has been taken, the command is reading.
	reading := func(stdin io.Writer, _ io.Reader) { io.WriteString(stdin, large) }
	interrupted(t, r.url, reading, "send", "--to=bob")

	get(t, client, r.url+"/inbox?wait=0", "alice", "a")
	req, err := http.NewRequest(http.MethodPost, r.url+"/inbox?to=alice", strings.NewReader(large))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", "a")
	res, err := client.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	writing := func(_ io.Writer, stdout io.Reader) {
		if _, err := stdout.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
	for _, args := range [][]string{{"receive"}, {"receive", "--follow"}} {
		interrupted(t, r.url, writing, args...)
		if res, body := get(t, client, r.url+"/inbox?after=0&wait=0", "alice", "a"); body != large {
			t.Errorf("%s: a message that was not printed completely is gone: %s", args, res.Status)
		}
	}
}
