package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// ofRedis returns the flags of a server with inboxes in Redis.
func ofRedis(t *testing.T, url string) []string {
	t.Helper()
	pepper := filepath.Join(t.TempDir(), "pepper")
	if err := os.WriteFile(pepper, []byte(strings.Repeat("not to be guessed ", 2)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--store=" + url, "--pepper-file=" + pepper, "--drain=0s"}
}

// asker is a client that uses several servers in turn.
type asker struct {
	http.Client
	urls []string
	turn atomic.Int64
}

func newAsker(t *testing.T, urls ...string) *asker {
	transport := &http.Transport{MaxIdleConnsPerHost: 20}
	t.Cleanup(transport.CloseIdleConnections)
	return &asker{Client: http.Client{Transport: transport}, urls: urls}
}

// ask sends a request to the next server. The status is 0 if it does not respond.
func (a *asker) ask(ctx context.Context, method, query, id, key, body string) (status int, header http.Header, content string) {
	url := a.urls[a.turn.Add(1)%int64(len(a.urls))]
	req, err := http.NewRequestWithContext(ctx, method, url+"/inbox"+query, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.SetBasicAuth(id, "password of "+id)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := a.Do(req)
	if err != nil {
		return 0, nil, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, ""
	}
	return resp.StatusCode, resp.Header, string(b)
}

// Nothing is lost when a server is killed: a message that was answered with 200 reaches
// peers through another server.
func TestServerIsKilledUnderLoad(t *testing.T) {
	redis := redistest.Start(t)
	flags := ofRedis(t, "redis://"+redis.Addr)
	_, one := process(t, flags...)
	cmd, two := process(t, flags...)
	a := newAsker(t, one.url, two.url)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	const peers = 6
	var ledger inboxtest.Ledger
	var sending, receiving sync.WaitGroup
	var accepted, arrived atomic.Int64
	enough := make(chan struct{})
	for i := range peers {
		id := fmt.Sprint("peer", i)
		a.ask(ctx, http.MethodGet, "?limit=0", id, "", "")
		receiving.Go(func() {
			for after := "0"; ctx.Err() == nil; {
				status, header, body := a.ask(ctx, http.MethodGet, "?wait=5&after="+after, id, "", "")
				switch {
				case status == http.StatusOK:
					ledger.Arrived(header.Get("X-From"), id, body)
					arrived.Add(1)
					fallthrough
				case status == http.StatusNoContent:
					after = header.Get("Inbox-Cursor")
				}
			}
		})
	}
	for i := range peers {
		id := fmt.Sprint("peer", i)
		sending.Go(func() {
			for n := 0; ; n++ {
				to, body := fmt.Sprint("peer", n%peers), fmt.Sprint(id, " ", n)
				for status := 0; status != http.StatusOK; {
					status, _, _ = a.ask(ctx, http.MethodPost, "?to="+to, id, fmt.Sprint(n), body)
					if ctx.Err() != nil {
						return
					}
				}
				ledger.Sent(id, to, body)
				accepted.Add(1)
				select {
				case <-enough:
					return
				case <-time.After(5 * time.Millisecond): // rate of the load
				}
			}
		})
	}
	inboxtest.Until(t, "messages arrive", func() bool { return arrived.Load() > 100 })
	cmd.Process.Kill()
	cmd.Wait()
	before := accepted.Load()
	inboxtest.Until(t, "the other server serves", func() bool { return accepted.Load() > before+100 })
	close(enough)
	sending.Wait()
	inboxtest.Until(t, "all has arrived", func() bool { return arrived.Load() >= accepted.Load() })
	stop()
	receiving.Wait()
	ledger.Check(t)
}

// While Redis is away, the server keeps running, reports it, and lets receivers wait. It
// never stores an inbox itself.
func TestRedisUnavailable(t *testing.T) {
	redis := redistest.Start(t)
	flags := ofRedis(t, "redis://"+redis.Addr)
	_, one := process(t, flags...)
	_, two := process(t, flags...)
	a, b := newAsker(t, one.url), newAsker(t, two.url)
	ready := func(want int) func() bool {
		return func() bool {
			res, _ := get(t, &a.Client, one.url+"/readyz", "", "")
			return res.StatusCode == want
		}
	}
	inboxtest.Until(t, "the server is ready", ready(http.StatusOK))
	a.ask(t.Context(), http.MethodGet, "?limit=0", "alice", "", "")
	waited := make(chan string, 1)
	go func() {
		status, header, body := a.ask(t.Context(), http.MethodGet, "?after=0", "alice", "", "")
		waited <- fmt.Sprint(status, " ", header.Get("Inbox-Reset"), body)
	}()
	inboxtest.Until(t, "alice waits", func() bool {
		m := redis.Must("KEYS", "inbox:{*}??????????????????????")
		inboxes, err := m.AsStrSlice()
		if err != nil || len(inboxes) != 1 {
			t.Fatal(inboxes, err)
		}
		const armed = 141 // see FORMAT in redisstore/common.lua
		return redis.Text("GETRANGE", inboxes[0], fmt.Sprint(armed), fmt.Sprint(armed)) == "\x01"
	})

	redis.Pause()
	inboxtest.Until(t, "the server is not ready", ready(http.StatusServiceUnavailable))
	if res, _ := get(t, &a.Client, one.url+"/healthz", "", ""); res.StatusCode != http.StatusOK {
		t.Errorf("healthz: %s", res.Status)
	}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		query := map[string]string{http.MethodPost: "?to=alice", http.MethodGet: "?wait=0"}[method]
		begin := time.Now()
		status, header, body := a.ask(t.Context(), method, query, "bob", "", "")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "store-unavailable") || header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", method, status, body)
		}
		if took := time.Since(begin); took > time.Minute { // a second or two, unless the machine is busy
			t.Errorf("%s: it took %v", method, took)
		}
	}
	redis.Resume()
	inboxtest.Until(t, "the server is ready", ready(http.StatusOK))
	inboxtest.Until(t, "a message is accepted", func() bool {
		status, _, _ := b.ask(t.Context(), http.MethodPost, "?to=alice", "bob", "k", "hello")
		return status == http.StatusOK
	})
	if got := <-waited; got != "200 hello" {
		t.Errorf("the waiting receiver got %q", got)
	}
}

// --secret-file is the old name of --pepper-file. It selects the same pepper, and the log
// recommends the new name. TestEveryFlagHasAVariable covers its variable.
func TestOldNameOfPepperFile(t *testing.T) {
	redis := redistest.Start(t)
	flags := ofRedis(t, "redis://"+redis.Addr)
	serve(t, flags...).end(t)
	r := serve(t, flags[0], strings.Replace(flags[1], "--pepper-file", "--secret-file", 1), "--drain=0s")
	r.end(t)
	if !strings.Contains(r.log.String(), `level=WARN msg="--secret-file and INBOX_SECRET_FILE are old names: use --pepper-file`) {
		t.Errorf("the log does not warn:\n%s", r.log)
	}
}

func TestUnsuitableRedis(t *testing.T) {
	redis := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	flags := ofRedis(t, "redis://"+redis.Addr)
	if got := refused(t, flags...); !strings.Contains(got, "maxmemory-policy is allkeys-lru") {
		t.Errorf("got %s", got)
	}
	redis.Must("CONFIG", "SET", "maxmemory-policy", "noeviction")
	redis.Must("ACL", "SETUSER", "inbox", "on", ">Kanari", "~inbox:*", "&inbox:*", "+@all", "-eval", "-script")
	weak := append([]string{"--store=redis://inbox:Kanari@" + redis.Addr}, flags[1:]...)
	if got := refused(t, weak...); !strings.Contains(got, "needs SCRIPT LOAD") || strings.Contains(got, "Kanari") {
		t.Errorf("got %s", got)
	}
	redis.Must("ACL", "SETUSER", "inbox", "+eval", "+script", "resetchannels")
	if got := refused(t, weak...); !strings.Contains(got, "needs the keys and channels inbox:*") {
		t.Errorf("got %s", got)
	}
	wrong := append([]string{"--store=redis://inbox:wrong@" + redis.Addr}, flags[1:]...)
	if got := refused(t, wrong...); !strings.Contains(got, "WRONGPASS") {
		t.Errorf("got %s", got)
	}
	redis.Must("ACL", "SETUSER", "inbox", "&inbox:*")
	serve(t, weak...).end(t)
	other := ofRedis(t, "redis://"+redis.Addr)
	if err := os.WriteFile(strings.TrimPrefix(other[1], "--pepper-file="), []byte(strings.Repeat("another pepper ", 3)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := refused(t, other...); !strings.Contains(got, "uses a different pepper") {
		t.Errorf("got %s", got)
	}
	serve(t, append(other, "--redis-prefix=other:")...).end(t)
}
