package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"inbox/internal/inboxtest"
)

// keptServer is the program with --max-memory=32MiB. It is built without the race
// detector, whose memory would add to the program's.
type keptServer struct {
	*testing.T
	pid  int
	addr string
	http *bufio.ReadWriter // a connection
	base int64             // resident memory when empty
}

const keptMemory = 32 << 20

func startKept(t *testing.T, binary string) *keptServer {
	cmd := exec.Command(binary, "serve", "--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0", "--inbox-ttl=1h", "--limits=off", fmt.Sprint("--max-memory=", keptMemory))
	r := started(t, cmd)
	s := &keptServer{T: t, pid: cmd.Process.Pid, addr: strings.TrimPrefix(r.url, "http://")}
	c := s.dial()
	s.http = bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	s.ask("GET", "?limit=0", "warm")
	s.base = s.resident()
	return s
}

func (s *keptServer) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return c
}

// ask sends a request without a body and returns the status.
func (s *keptServer) ask(method, query, id string) int {
	s.Helper()
	return s.askAll(method + " " + query + " " + id)[0]
}

// askAll pipelines requests, each given as method, query and id.
func (s *keptServer) askAll(requests ...string) (statuses []int) {
	s.Helper()
	for _, r := range requests {
		part := strings.SplitN(r, " ", 3)
		fmt.Fprintf(s.http, "%s /inbox%s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\nContent-Length: 0\r\n\r\n",
			part[0], part[1], base64.StdEncoding.EncodeToString([]byte(part[2]+":p")))
	}
	s.http.Flush()
	for _, r := range requests {
		method, _, _ := strings.Cut(r, " ")
		res, err := http.ReadResponse(s.http.Reader, &http.Request{Method: method})
		if err != nil {
			s.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		statuses = append(statuses, res.StatusCode)
	}
	return statuses
}

func (s *keptServer) resident() (bytes int64) {
	s.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		s.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscanf(rest, "%d kB", &bytes); err != nil {
		s.Fatal(err)
	}
	return bytes << 10
}

// The memory that strangers make the server keep stays within --max-memory, once the garbage
// of handling their requests is collected.
func TestMaxMemoryBoundsResidentMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("resident memory cannot be read here")
	}
	binary := filepath.Join(t.TempDir(), "inbox")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	long := strings.Repeat("-", 500)
	for name, fill := range map[string]func(s *keptServer) (full bool){
		"empty messages from senders that have closed": func(s *keptServer) bool {
			for i := 0; ; i++ {
				to := fmt.Sprint("to-", i)
				requests := []string{"GET ?limit=0 " + to}
				for j := range 100 {
					from := fmt.Sprint(i, "-", j, long)
					requests = append(requests, "POST ?to="+to+" "+from, "DELETE  "+from)
				}
				if slices.Contains(s.askAll(requests...), http.StatusServiceUnavailable) {
					return true
				}
			}
		},
		"inboxes with long ids": func(s *keptServer) bool {
			for i := 0; ; i++ {
				var requests []string
				for j := range 200 {
					requests = append(requests, fmt.Sprint("GET ?limit=0 ", i, "-", j, long))
				}
				if slices.Contains(s.askAll(requests...), http.StatusServiceUnavailable) {
					return true
				}
			}
		},
		// Each is a new connection that waits, gets a response and disconnects.
		"receivers that are gone": func(s *keptServer) bool {
			for i := range 3000 {
				c, id := s.dial(), fmt.Sprint("peer-", i)
				fmt.Fprintf(c, "GET /inbox?after=0&wait=1 HTTP/1.1\r\nHost: x\r\nX-Filler: %s\r\nAuthorization: Basic %s\r\n\r\n",
					strings.Repeat("x", 1500), base64.StdEncoding.EncodeToString([]byte(id+":p")))
				inboxtest.Until(s, "the poll waits", func() bool { return s.ask("POST", "?to="+id, "sender") == http.StatusOK })
				io.ReadFull(c, make([]byte, 100))
				c.Close()
			}
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startKept(t, binary)
			if !fill(s) {
				t.Error("there is no limit")
			}
			most, last := s.base+keptMemory*115/100, int64(0)
			defer func() { t.Logf("%d MiB at the start, %d now", s.base>>20, last>>20) }()
			inboxtest.Until(t, "resident memory is within the limit", func() bool {
				time.Sleep(100 * time.Millisecond) // garbage collection cannot be observed
				last = s.resident()
				return last <= most
			})
		})
	}
}
