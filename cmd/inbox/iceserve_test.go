package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"inbox/inboxhttp"
	"inbox/internal/inboxtest"
)

// iceOf fetches a server's list under the name localhost.
func iceOf(t *testing.T, r *running, roots *x509.CertPool) []inboxhttp.ICEServer {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, InsecureSkipVerify: roots == nil, ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	res, body := get(t, &http.Client{Transport: transport}, strings.Replace(r.url, "127.0.0.1", "localhost", 1)+"/ice", "alice", "secret")
	var got struct{ ICEServers []inboxhttp.ICEServer }
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	return got.ICEServers
}

// allocate creates an allocation at a URL, used as it is, as browsers do.
func allocate(t *testing.T, url string, s inboxhttp.ICEServer, roots *x509.CertPool) (relay net.PacketConn) {
	t.Helper()
	part := regexp.MustCompile(`^(turns?):(.*)\?transport=(udp|tcp)$`).FindStringSubmatch(url)
	if part == nil {
		t.Fatalf("%q is not a URL of TURN", url)
	}
	var conn net.PacketConn
	switch {
	case part[3] == "udp":
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn = udp
	case part[1] == "turn":
		tcp, err := net.Dial("tcp4", part[2])
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(tcp)
	default:
		secure, err := tls.Dial("tcp4", part[2], &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(secure)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: part[2], Username: s.Username, Password: s.Credential, Conn: conn, RequestedAddressFamily: turn.RequestedAddressFamilyIPv4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	if relay, err = c.Allocate(); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	t.Cleanup(func() { relay.Close() })
	return relay
}

// reaches sends packets between two relay addresses until both have received one. The
// relay drops the first, since it drops packets from peers that the receiver has not sent
// to.
func reaches(t *testing.T, one, two net.PacketConn) {
	t.Helper()
	var b [100]byte
	for read, deadline := [2]bool{}, time.Now().Add(30*time.Second); !read[0] || !read[1]; {
		for i, conn := range []net.PacketConn{one, two} {
			if _, err := conn.WriteTo([]byte("hello"), []net.PacketConn{two, one}[i].LocalAddr()); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, _, err := conn.ReadFrom(b[:])
			read[i] = read[i] || err == nil && string(b[:n]) == "hello"
			if err != nil && time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}

// The URLs and credentials of /ice work unchanged over every transport, and clients of
// different transports reach each other.
func TestICEWorks(t *testing.T) {
	certificate := inboxtest.IssueCertificate(t)
	roots := certificate.Pool
	certFile, keyFile := certificate.Files(t)
	for _, c := range []struct {
		name  string
		roots *x509.CertPool
		flags []string
		want  string
	}{
		{"plain", nil, nil, `^stun:localhost:\d+ turn:localhost:\d+\?transport=udp turn:localhost:\d+\?transport=tcp$`},
		{"a certificate of an authority", roots, []string{"--tls=files", "--tls-cert=" + certFile, "--tls-key=" + keyFile},
			`^stun:localhost:\d+ turn:localhost:\d+\?transport=udp turns:localhost:\d+\?transport=tcp$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := serve(t, append(c.flags, "--turn-listen=127.0.0.1:0", "--drain=0s")...)
			defer r.end(t)
			servers := iceOf(t, r, c.roots)
			if len(servers) != 2 || len(servers[1].URLs) != 2 {
				t.Fatalf("got %v", servers)
			}
			if got := strings.Join(append(servers[0].URLs, servers[1].URLs...), " "); !regexp.MustCompile(c.want).MatchString(got) {
				t.Fatalf("got %s, want %s", got, c.want)
			}
			one, two := allocate(t, servers[1].URLs[0], servers[1], c.roots), allocate(t, servers[1].URLs[1], servers[1], c.roots)
			reaches(t, one, two)
		})
	}
}

// Browsers never let the user accept an untrusted certificate of a TURN server.
func TestICEWithAnUntrustedCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile)
	for _, flags := range [][]string{{"--tls=self-signed", "--snapshot=" + filepath.Join(dir, "snapshot")}, {"--tls=files", "--tls-cert=" + certFile, "--tls-key=" + keyFile}} {
		r := serve(t, append(flags, "--turn-listen=127.0.0.1:0", "--drain=0s")...)
		if servers := iceOf(t, r, nil); len(servers) != 2 || !strings.HasSuffix(servers[1].URLs[1], "?transport=tcp") || strings.HasPrefix(servers[1].URLs[1], "turns") {
			t.Errorf("%s: got %v", flags[0], servers)
		}
		r.end(t)
	}
}

func TestICEWithoutARelay(t *testing.T) {
	r := serve(t, "--turn=off", "--ice-server=stun:stun.example", "--drain=0s")
	defer r.end(t)
	if servers := iceOf(t, r, nil); len(servers) != 1 || servers[0].URLs[0] != "stun:stun.example" {
		t.Errorf("got %v", servers)
	}
}
