// Package examples_test runs the examples that are not Go programs; those have
// tests of their own.
package examples_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"inbox"
	"inbox/inboxhttp"
	"inbox/internal/inboxtest"
	"inbox/memstore"
)

// serve serves inboxes, and the files beside them.
func serve(t *testing.T) (url string, store *memstore.Store) {
	t.Helper()
	store = memstore.New(inbox.Limits{})
	handler, err := inboxhttp.New(inboxhttp.Config{Store: store, Pepper: inbox.NewPepper([inbox.PepperSize]byte{})})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/inbox", handler)
	mux.Handle("/", http.FileServer(http.Dir(".")))
	mux.HandleFunc("/two", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `<iframe src="/plain/#id=alice"></iframe><iframe src="/plain/#id=bob&call=alice"></iframe>`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, store
}

func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl here")
	}
	url, store := serve(t)
	cmd := exec.CommandContext(t.Context(), "sh", "curl/hello.sh")
	cmd.Env = append(os.Environ(), "INBOX_SERVER="+url+"/inbox")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"body":"hello, Bob"}]`) {
		t.Errorf("error %v: %s", err, out)
	}
	if inboxes, _ := store.Usage(); inboxes != 0 {
		t.Errorf("%d inboxes are left", inboxes)
	}
}

// Two copies of the page meet, in a browser.
func TestPlain(t *testing.T) {
	url, _ := serve(t)
	met := 0
	inboxtest.Browse(t, url+"/two", func(line string) bool {
		if strings.Contains(line, `"They: Hello!"`) {
			met++
		}
		return met == 2
	})
}
