// Package examples_test runs the examples that are not Go programs. The Go examples have
// their own tests.
package examples_test

import (
	"fmt"
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

// serve starts a server for inboxes.
func serve(t *testing.T) (url string, store *memstore.Store) {
	t.Helper()
	store = memstore.New(inbox.Limits{})
	handler, err := inboxhttp.New(inboxhttp.Config{Store: store, Authenticator: inbox.NewPepper([inbox.PepperSize]byte{})})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/inbox", handler)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/inbox", store
}

func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	url, store := serve(t)
	cmd := exec.CommandContext(t.Context(), "sh", "curl/hello.sh")
	cmd.Env = append(os.Environ(), "INBOX_SERVER="+url)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"body":"hello, Bob"}]`) {
		t.Errorf("error %v: %s", err, out)
	}
	if inboxes, _ := store.Usage(); inboxes != 0 {
		t.Errorf("%d inboxes are left", inboxes)
	}
}

// Two copies of the page connect in a browser, from another origin than the inbox server.
func TestPlain(t *testing.T) {
	url, _ := serve(t)
	mux := http.NewServeMux()
	mux.Handle("/plain/", http.FileServer(http.Dir(".")))
	mux.HandleFunc("/two", func(w http.ResponseWriter, r *http.Request) {
		for _, who := range []string{"id=alice", "id=bob&call=alice"} {
			fmt.Fprintf(w, `<iframe src="/plain/#server=%s&%s"></iframe>`, url, who)
		}
	})
	pages := httptest.NewServer(mux)
	t.Cleanup(pages.Close)
	met := 0
	inboxtest.Browse(t, pages.URL+"/two", func(line string) bool {
		if strings.Contains(line, `"They: Hello!"`) {
			met++
		}
		return met == 2
	})
}
