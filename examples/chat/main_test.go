package main

import (
	"bufio"
	"io"
	"net/http/httptest"
	"testing"

	"inbox"
	"inbox/inboxhttp"
	"inbox/memstore"
)

func TestChat(t *testing.T) {
	store := memstore.New(inbox.Limits{})
	handler, err := inboxhttp.New(inboxhttp.Config{Store: store, Authenticator: inbox.NewPepper([inbox.PepperSize]byte{})})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	start := func(id, to string) (say io.WriteCloser, hear *bufio.Reader, ended chan error) {
		in, say := io.Pipe()
		heard, out := io.Pipe()
		ended = make(chan error, 1)
		go func() {
			ended <- chat(t.Context(), server.URL+"/inbox", id, to, in, out)
			out.Close()
		}()
		return say, bufio.NewReader(heard), ended
	}
	expect := func(hear *bufio.Reader, want string) {
		t.Helper()
		if line, err := hear.ReadString('\n'); err != nil || line != want+"\n" {
			t.Fatalf("%q, error %v; want %q", line, err, want)
		}
	}
	sayAlice, hearAlice, endedAlice := start("alice", "")
	io.WriteString(sayAlice, "anybody?\n")
	expect(hearAlice, "(nobody has written yet)")
	sayBob, hearBob, endedBob := start("bob", "alice")
	io.WriteString(sayBob, "hello, Alice\n")
	expect(hearAlice, "bob: hello, Alice")
	io.WriteString(sayAlice, "hello, Bob\n")
	expect(hearBob, "alice: hello, Bob")
	sayAlice.Close()
	sayBob.Close()
	for _, ended := range []chan error{endedAlice, endedBob} {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if inboxes, _ := store.Usage(); inboxes != 0 {
		t.Errorf("%d inboxes are left", inboxes)
	}
}
