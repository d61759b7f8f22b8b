package main

import (
	"net/http"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
	"inbox/internal/redistest"
)

// redisCertificate creates a certificate for Redis and its clients. It returns it, its
// key, and arguments that make Redis accept only TLS.
func redisCertificate(t *testing.T, clients string) (cert, key string, args []string) {
	t.Helper()
	cert, key = inboxtest.NewCertificate(t, "redis").Files(t)
	return cert, key, []string{
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", clients,
		"--tls-replication", "yes", "--tls-cluster", "yes",
	}
}

// refused runs a server that cannot start and returns its error.
func refused(t *testing.T, flags ...string) string {
	t.Helper()
	var out, errs strings.Builder
	if code := run(append([]string{"serve", "--listen=127.0.0.1:0"}, flags...), &out, &errs); code != 1 {
		t.Errorf("the exit code is %d: %s", code, errs.String())
	}
	return errs.String()
}

// wantWake lets a peer wait at one server and sends to it through another.
func wantWake(t *testing.T, flags ...string) {
	t.Helper()
	at, through := serve(t, flags...), serve(t, flags...)
	alice, bob := newAsker(t, at.url), newAsker(t, through.url)
	if status, _, body := alice.ask(t.Context(), http.MethodGet, "?wait=0", "alice", "", ""); status != http.StatusNoContent {
		t.Fatalf("got %d %s", status, body)
	}
	got := make(chan string, 1)
	go func() {
		_, _, body := alice.ask(t.Context(), http.MethodGet, "", "alice", "", "")
		got <- body
	}()
	if status, _, body := bob.ask(t.Context(), http.MethodPost, "?to=alice", "bob", "", "hello"); status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	if body := <-got; body != "hello" {
		t.Errorf("alice got %q", body)
	}
	at.end(t)
	through.end(t)
}

func TestRedisOverTLS(t *testing.T) {
	cert, key, args := redisCertificate(t, "yes")
	redis := redistest.Start(t, args...)
	flags := ofRedis(t, redis.URL())

	if got := refused(t, flags...); !strings.Contains(got, "certificate signed by unknown authority") {
		t.Errorf("an untrusted certificate: %s", got)
	}
	flags = append(flags, "--redis-ca="+cert)
	if got := refused(t, flags...); !strings.Contains(got, "cannot be reached") {
		t.Errorf("without a client certificate: %s", got)
	}
	flags = append(flags, "--redis-cert="+cert, "--redis-key="+key)
	named := append([]string{"--store=" + redis.URL() + "?server_name=elsewhere"}, flags[1:]...)
	if got := refused(t, named...); !strings.Contains(got, "not elsewhere") {
		t.Errorf("another name: %s", got)
	}
	for _, c := range []struct{ flag, want string }{
		{"--redis-ca=" + key, "contains no PEM certificate"},
		{"--redis-ca=none", "none"},
		{"--redis-key=none", "none"},
	} {
		if got := refused(t, append(flags, c.flag)...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.flag, got)
		}
	}
	named[0] = "--store=" + redis.URL() + "?server_name=localhost"
	wantWake(t, named...)
	wantWake(t, flags...)
}

// If the system's roots trust Redis, no flag is needed.
func TestRedisOverTLSWithSystemRoots(t *testing.T) {
	cert, _, args := redisCertificate(t, "no")
	redis := redistest.Start(t, args...)
	t.Setenv("SSL_CERT_FILE", cert)
	_, r := process(t, ofRedis(t, redis.URL())...)
	if status, _, body := newAsker(t, r.url).ask(t.Context(), http.MethodGet, "?wait=0", "alice", "", ""); status != http.StatusNoContent {
		t.Errorf("got %d %s", status, body)
	}
}

func TestSentinelOverTLS(t *testing.T) {
	cert, key, args := redisCertificate(t, "yes")
	g := redistest.StartSentinel(t, args...)
	for _, s := range g.Sentinels { // the sentinels have a separate password
		s.Must("ACL", "SETUSER", "asker", "on", ">Kanari", "+@all", "~*", "&*")
	}
	flags := append(ofRedis(t, g.URL()+"&sentinel_user=asker&sentinel_password=Kanari"), "--redis-ca="+cert, "--redis-cert="+cert, "--redis-key="+key)
	wantWake(t, flags...)
	flags[0] = "--store=" + g.URL() + "&sentinel_user=asker&sentinel_password=wrong"
	if got := refused(t, flags...); !strings.Contains(got, "WRONGPASS") {
		t.Errorf("a wrong password of the sentinels: %s", got)
	}
}

func TestClusterOverTLS(t *testing.T) {
	cert, key, args := redisCertificate(t, "yes")
	g := redistest.StartCluster(t, args...)
	wantWake(t, append(ofRedis(t, g.URL()), "--redis-ca="+cert, "--redis-cert="+cert, "--redis-key="+key)...)
}
