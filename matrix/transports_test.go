//go:build linux

package matrix

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"inbox/internal/inboxtest"
)

// Two peers that may only use the relay connect over every pair of transports.
//
// The test runs itself again as a child process, since a process reads its trusted
// certificates only once.
func TestRelayTransports(t *testing.T) {
	cert := os.Getenv("SSL_CERT_FILE")
	if os.Getenv("INBOX_RELAY_TRANSPORTS") == "" {
		certificate := inboxtest.NewCertificate(t, "Relay")
		dir := t.TempDir()
		cert = filepath.Join(dir, "cert.pem")
		for name, data := range map[string][]byte{cert: certificate.Cert, filepath.Join(dir, "key.pem"): certificate.Key} {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again := exec.Command(os.Args[0], "-test.run=^TestRelayTransports$", "-test.v")
		again.Env = append(os.Environ(), "INBOX_RELAY_TRANSPORTS=1", "SSL_CERT_FILE="+cert)
		out, err := again.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	urls := relayServer(t, cert)
	for _, pair := range [][2]string{{"udp", "udp"}, {"tcp", "tcp"}, {"tls", "tls"}, {"udp", "tls"}, {"tls", "udp"}, {"udp", "tcp"}, {"tcp", "tls"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			a, b := relayPeer(t, urls(t, pair[0], "alice")), relayPeer(t, urls(t, pair[1], "bob"))
			arrived := make(chan string, 1)
			b.OnDataChannel(func(d *webrtc.DataChannel) {
				d.OnMessage(func(m webrtc.DataChannelMessage) { arrived <- string(m.Data) })
			})
			d, err := a.CreateDataChannel("x", nil)
			if err != nil {
				t.Fatal(err)
			}
			sent := strings.Repeat("0123456789", 6000)
			d.OnOpen(func() { d.SendText(sent) })
			negotiate(t, a, b)
			select {
			case got := <-arrived:
				if got != sent {
					t.Errorf("%d bytes arrived, want %d", len(got), len(sent))
				}
			case <-time.After(30 * time.Second):
				t.Fatal("nothing arrived")
			}
			path, err := a.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
			if err != nil || path.Local.Typ != webrtc.ICECandidateTypeRelay || path.Remote.Typ != webrtc.ICECandidateTypeRelay {
				t.Errorf("the path is %v, %v", path, err)
			}
			t.Logf("60,000 bytes in %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// relayServer starts a server and returns a function that lists its relay for a
// transport.
func relayServer(t *testing.T, cert string) func(t *testing.T, transport, id string) webrtc.ICEServer {
	t.Helper()
	program := filepath.Join(t.TempDir(), "inbox")
	build := exec.Command("go", "build", "-o", program, "./cmd/inbox")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key := filepath.Join(filepath.Dir(cert), "key.pem")
	server := exec.Command(program, "serve", "--listen=127.0.0.1:0", "--turn-listen=127.0.0.1:0", "--tls=files", "--tls-cert="+cert, "--tls-key="+key)
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	address := ""
	lines := bufio.NewScanner(log)
	for address == "" && lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "url=https://"); ok {
			address = strings.TrimSuffix(url, "/")
		}
	}
	go func() {
		for lines.Scan() {
		}
	}()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal("the server did not start: ", err)
	}
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(client.CloseIdleConnections)
	return func(t *testing.T, transport, id string) webrtc.ICEServer {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "https://localhost:"+port+"/ice", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(id, "password")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			ICEServers []struct {
				URLs                 []string
				Username, Credential string
			}
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		relay := answer.ICEServers[len(answer.ICEServers)-1]
		udp := strings.Replace(relay.URLs[0], "localhost", "127.0.0.1", 1)
		if !strings.HasSuffix(udp, "?transport=udp") {
			t.Fatalf("/ice lists %q", relay.URLs)
		}
		url := map[string]string{
			"udp": udp,
			"tcp": strings.Replace(udp, "transport=udp", "transport=tcp", 1),
			// The response of /ice only has turns: URLs if browsers trust the
			// certificate, which does not matter here.
			"tls": fmt.Sprintf("turns:localhost:%s?transport=tcp", port),
		}[transport]
		return webrtc.ICEServer{URLs: []string{url}, Username: relay.Username, Credential: relay.Credential}
	}
}

func relayPeer(t *testing.T, server webrtc.ICEServer) *webrtc.PeerConnection {
	t.Helper()
	settings := webrtc.SettingEngine{}
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	settings.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{
		ICEServers: []webrtc.ICEServer{server}, ICETransportPolicy: webrtc.ICETransportPolicyRelay,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

// negotiate exchanges descriptions that contain all candidates.
func negotiate(t *testing.T, a, b *webrtc.PeerConnection) {
	t.Helper()
	offer, err := a.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(a)
	if err := a.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	if err := b.SetRemoteDescription(*a.LocalDescription()); err != nil {
		t.Fatal(err)
	}
	answer, err := b.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered = webrtc.GatheringCompletePromise(b)
	if err := b.SetLocalDescription(answer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	if err := a.SetRemoteDescription(*b.LocalDescription()); err != nil {
		t.Fatal(err)
	}
}
