//go:build linux

package matrix

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
	"golang.org/x/net/proxy"

	"inbox"
	"inbox/client"
)

// childVariable selects what a child process of the test does in its namespace.
const childVariable = "MATRIX_CHILD"

func TestMain(m *testing.M) {
	switch child := os.Getenv(childVariable); child {
	case "":
		os.Exit(m.Run())
	case "proxy":
		fmt.Fprintln(os.Stderr, serveProxy())
	case "names":
		fmt.Fprintln(os.Stderr, serveNames())
	default:
		var c call
		err := json.Unmarshal([]byte(child), &c)
		if err == nil {
			err = c.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(1)
}

const (
	relayWait = 200 * time.Millisecond
	packets   = 20 // sent and echoed per call
)

// A call describes what a child process does.
type call struct {
	ID, To string        // without To, the peer answers
	Proxy  string        // URL of the proxy, if any
	Within time.Duration // time limit for connecting
}

// An outcome is the result of a call.
type outcome struct {
	Connected bool
	Path      string        // direct or relay
	Transport string        // of our relay candidate: udp, tcp or tls; otherwise of the pair
	Took      time.Duration // from the start of the call to an open channel
	Why       string        // if not Connected
}

// run prints "ready" once the peer can be called, or the outcome of the call that it makes.
func (c call) run() error {
	if c.Proxy != "" {
		os.Setenv("HTTPS_PROXY", c.Proxy)
	}
	p := &peer{call: c}
	in, err := client.New(client.Config{URL: "https://" + serverName + "/inbox", ID: c.ID, Password: "password of " + c.ID, Wait: c.Within})
	if err != nil {
		return err
	}
	p.inbox = in
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if c.To == "" {
		return p.answer(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Within)
	defer cancel()
	o, err := p.dial(ctx)
	if err != nil {
		o = outcome{Why: err.Error()}
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

type peer struct {
	call
	inbox *client.Client
	pc    *webrtc.PeerConnection
	early []webrtc.ICECandidateInit
}

// A signal is a signaling message of a call.
type signal struct {
	Description *webrtc.SessionDescription `json:",omitempty"`
	Candidate   *webrtc.ICECandidateInit   `json:",omitempty"`
}

// open creates a connection that uses the server's ICE servers.
func (p *peer) open(ctx context.Context, other string) error {
	config := webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle}
	var err error
	if config.ICEServers, err = p.iceServers(ctx); err != nil {
		return err
	}
	settings := webrtc.SettingEngine{}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	// By default, pion waits two seconds for a better path before it uses a relay.
	settings.SetRelayAcceptanceMinWait(relayWait)
	if p.Proxy != "" {
		address, err := url.Parse(p.Proxy)
		if err != nil {
			return err
		}
		settings.SetICEProxyDialer(connectDialer(address.Host))
	}
	if p.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(config); err != nil {
		return err
	}
	p.pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate != nil {
			init := candidate.ToJSON()
			p.send(ctx, other, signal{Candidate: &init})
		}
	})
	return nil
}

func (p *peer) send(ctx context.Context, to string, s signal) {
	body, err := json.Marshal(s)
	if err == nil {
		err = p.inbox.Send(ctx, to, body)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "cannot send a signal:", err)
	}
}

func (p *peer) iceServers(ctx context.Context) ([]webrtc.ICEServer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+serverName+"/ice", nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(p.ID, "password of "+p.ID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		ICEServers []webrtc.ICEServer `json:"iceServers"`
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return answer.ICEServers, json.NewDecoder(resp.Body).Decode(&answer)
}

// answer answers calls one after the other and echoes what arrives.
func (p *peer) answer(ctx context.Context) error {
	fmt.Println("ready")
	for m, err := range p.inbox.All(ctx) {
		if errors.Is(err, client.ErrReset) {
			continue
		} else if err != nil {
			return err
		}
		if err := p.handle(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) handle(ctx context.Context, m inbox.Message) error {
	var s signal
	if err := json.Unmarshal(m.Body, &s); err != nil {
		return err
	}
	switch {
	case s.Candidate != nil && (p.pc == nil || p.pc.RemoteDescription() == nil):
		p.early = append(p.early, *s.Candidate)
		return nil
	case s.Candidate != nil:
		return p.pc.AddICECandidate(*s.Candidate)
	case s.Description == nil:
		return errors.New("empty signal")
	case s.Description.Type == webrtc.SDPTypeOffer:
		if err := p.open(ctx, m.From); err != nil {
			return err
		}
		p.pc.OnDataChannel(func(channel *webrtc.DataChannel) {
			channel.OnMessage(func(m webrtc.DataChannelMessage) { channel.Send(m.Data) })
		})
	}
	if err := p.pc.SetRemoteDescription(*s.Description); err != nil {
		return err
	}
	for _, candidate := range p.early {
		if err := p.pc.AddICECandidate(candidate); err != nil {
			return err
		}
	}
	p.early = nil
	if s.Description.Type != webrtc.SDPTypeOffer {
		return nil
	}
	answer, err := p.pc.CreateAnswer(nil)
	if err == nil {
		err = p.pc.SetLocalDescription(answer)
	}
	if err == nil {
		p.send(ctx, m.From, signal{Description: &answer})
	}
	return err
}

// dial makes a call and checks that packets are echoed.
func (p *peer) dial(ctx context.Context) (o outcome, err error) {
	began := time.Now()
	if err := p.open(ctx, p.To); err != nil {
		return o, err
	}
	defer p.pc.Close()
	channel, err := p.pc.CreateDataChannel("echo", nil)
	if err != nil {
		return o, err
	}
	opened, echoes := make(chan struct{}), make(chan struct{}, packets)
	channel.OnOpen(func() { close(opened) })
	channel.OnMessage(func(webrtc.DataChannelMessage) { echoes <- struct{}{} })
	offer, err := p.pc.CreateOffer(nil)
	if err == nil {
		err = p.pc.SetLocalDescription(offer)
	}
	if err != nil {
		return o, err
	}
	p.send(ctx, p.To, signal{Description: &offer})
	heard := make(chan error, 1)
	go func() {
		for m, err := range p.inbox.All(ctx) {
			if err == nil {
				err = p.handle(ctx, m)
			}
			if err != nil && !errors.Is(err, client.ErrReset) {
				heard <- err
				return
			}
		}
	}()
	select {
	case <-opened:
	case err := <-heard:
		return o, err
	case <-ctx.Done():
		return o, errors.New("not connected: ICE is " + p.pc.ICEConnectionState().String())
	}
	o.Took = time.Since(began)
	for range packets {
		if err := channel.Send([]byte("hello")); err != nil {
			return o, err
		}
	}
	for range packets {
		select {
		case <-echoes:
		case <-ctx.Done():
			return o, errors.New("connected, but packets are not echoed")
		}
	}
	o.Connected = true
	o.Path, o.Transport = p.path()
	return o, nil
}

// path describes the path of the selected pair. A relay on either side makes it relayed.
// The other side's relay may appear as a peer-reflexive candidate here, but the other
// side sees it.
func (p *peer) path() (path, transport string) {
	pair, err := p.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return "unknown", "unknown"
	}
	path, transport = "direct", pair.Local.Protocol.String()
	if pair.Remote.Typ == webrtc.ICECandidateTypeRelay {
		path = "relay"
	}
	if pair.Local.Typ != webrtc.ICECandidateTypeRelay {
		return path, transport
	}
	for _, s := range p.pc.GetStats() {
		c, ok := s.(webrtc.ICECandidateStats)
		if ok && c.Type == webrtc.StatsTypeLocalCandidate && c.CandidateType == webrtc.ICECandidateTypeRelay && int(c.Port) == int(pair.Local.Port) {
			transport = c.RelayProtocol
		}
	}
	return "relay", transport
}

// serveProxy runs an HTTP proxy that only allows CONNECT to port 443.
func serveProxy() error {
	ln, err := net.Listen("tcp", ":"+proxyPort)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, port, _ := net.SplitHostPort(r.Host)
		if r.Method != http.MethodConnect || port != "443" {
			http.Error(w, "only CONNECT to port 443", http.StatusForbidden)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			io.Copy(to, buffered)
			to.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(from, to)
	}))
}

// connectDialer dials TLS through an HTTP proxy. For turns: URLs, pion leaves TLS to the
// dialer.
type connectDialer string

var _ proxy.Dialer = connectDialer("")

func (d connectDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial("tcp", string(d))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New("the proxy responded with " + resp.Status)
	}
	if err == nil && r.Buffered() > 0 {
		err = errors.New("the proxy sent unexpected data")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return tls.Client(conn, &tls.Config{ServerName: serverName}), nil
}
