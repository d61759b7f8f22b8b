package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"inbox"
	"inbox/client"
	"inbox/inboxhttp"
	"inbox/internal/inboxtest"
	"inbox/internal/outcome"
	"inbox/memstore"
)

var (
	outcomes outcome.Counts
	asked    atomic.Int64 // requests for ICE servers
)

// serve serves inboxes and the examples, and answers calls to "echo".
func serve(t *testing.T) (url string, a *answerer) {
	t.Helper()
	handler, err := inboxhttp.New(inboxhttp.Config{
		Store: memstore.New(inbox.Limits{}), Authenticator: inbox.NewPepper([inbox.PepperSize]byte{}), Outcomes: &outcomes,
		ICEServers: func(*http.Request, string) []inboxhttp.ICEServer {
			asked.Add(1)
			return []inboxhttp.ICEServer{{URLs: []string{"turn:127.0.0.1:1?transport=tcp"}, Username: "u", Credential: "c"}} // nothing listens there
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/inbox", handler)
	mux.HandleFunc("/ice", handler.ServeICE)
	mux.HandleFunc("/outcome", handler.ServeOutcome)
	mux.Handle("/", http.FileServer(http.Dir("..")))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	url = server.URL

	ctx, stop := context.WithCancel(context.Background())
	a = &answerer{inbox: peer(t, url, "echo"), api: api(), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return url, a
}

func peer(t *testing.T, url, id string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url + "/inbox", ID: id, Password: "password of " + id, Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Leave)
	return c
}

func api() *webrtc.API {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	return webrtc.NewAPI(webrtc.WithSettingEngine(settings))
}

// caller makes calls like the SDK.
type caller struct {
	*testing.T
	inbox   *client.Client
	session string
	pc      *webrtc.PeerConnection
	answers chan Signal // from the other side, except candidates
	offers  int
	turn    sync.Mutex // sends an offer before its candidates
}

func dial(t *testing.T, url, id string) *caller {
	t.Helper()
	pc, err := api().NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{T: t, inbox: peer(t, url, id), session: "session of " + id, pc: pc, answers: make(chan Signal, 10)}
	var running sync.WaitGroup
	pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate == nil {
			return
		}
		running.Go(func() { // SetLocalDescription may wait for this function to return
			c.turn.Lock()
			defer c.turn.Unlock()
			c.send(Signal{Type: "candidates", Candidates: []webrtc.ICECandidateInit{candidate.ToJSON()}})
		}) // SetLocalDescription may wait for this function
	})
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() { c.receive(ctx) })
	t.Cleanup(func() { cancel(); pc.Close(); running.Wait() })
	return c
}

func (c *caller) receive(ctx context.Context) {
	var early []webrtc.ICECandidateInit
	for m, err := range c.inbox.All(ctx) {
		if err != nil {
			continue
		}
		s, ok := parse(m.Body)
		if !ok || s.Session != c.session || m.From != "echo" {
			c.Errorf("received %s from %s", m.Body, m.From)
		}
		switch s.Type {
		case "candidates":
			early = append(early, s.Candidates...)
		case "answer":
			if c.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
				if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: s.SDP}); err != nil {
					c.Error(err)
				}
			}
			c.answers <- s
		default:
			c.answers <- s
		}
		if c.pc.RemoteDescription() != nil {
			for _, candidate := range early {
				if err := c.pc.AddICECandidate(candidate); err != nil {
					c.Error(err)
				}
			}
			early = nil
		}
	}
}

func (c *caller) send(s Signal) {
	s.Session = c.session
	// A failure shows in what the test waits for.
	if err := c.inbox.Send(context.Background(), "echo", s.encode()); err != nil {
		c.Log(err)
	}
}

// offer sends an offer and returns the answer.
func (c *caller) offer(options *webrtc.OfferOptions) Signal {
	c.Helper()
	offer, err := c.pc.CreateOffer(options)
	if err != nil {
		c.Fatal(err)
	}
	c.offers++
	func() {
		c.turn.Lock()
		defer c.turn.Unlock()
		if err := c.pc.SetLocalDescription(offer); err != nil {
			c.Fatal(err)
		}
		c.send(Signal{Type: "offer", N: c.offers, SDP: offer.SDP})
	}()
	answer := <-c.answers
	if answer.Type != "answer" || answer.N != c.offers {
		c.Fatalf("answered with %+v", answer)
	}
	return answer
}

// channel creates a data channel. It returns the messages that arrive, and a channel that
// is closed once it is open.
func (c *caller) channel() (*webrtc.DataChannel, chan webrtc.DataChannelMessage, chan struct{}) {
	c.Helper()
	channel, err := c.pc.CreateDataChannel("echo", nil)
	if err != nil {
		c.Fatal(err)
	}
	open, messages := make(chan struct{}), make(chan webrtc.DataChannelMessage, 10)
	channel.OnOpen(func() { close(open) })
	channel.OnMessage(func(m webrtc.DataChannelMessage) { messages <- m })
	return channel, messages, open
}

func TestEcho(t *testing.T) {
	url, a := serve(t)
	for _, id := range []string{"alice", "böb 👋"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel() // concurrently
			c := dial(t, url, id)
			channel, messages, open := c.channel()
			answer := c.offer(nil)
			<-open
			for _, want := range []webrtc.DataChannelMessage{
				{IsString: true, Data: []byte("hello")},
				{Data: []byte{0, 1, 255}},
				{IsString: true, Data: []byte(strings.Repeat("long ", 3000))},
			} {
				send := channel.Send
				if want.IsString {
					send = func(data []byte) error { return channel.SendText(string(data)) }
				}
				if err := send(want.Data); err != nil {
					t.Fatal(err)
				}
				if got := <-messages; got.IsString != want.IsString || string(got.Data) != string(want.Data) {
					t.Errorf("echoed %v %q", got.IsString, got.Data)
				}
			}

			c.send(Signal{Type: "offer", N: 1, SDP: c.pc.LocalDescription().SDP})
			if again := <-c.answers; again.SDP != answer.SDP || again.N != 1 {
				t.Errorf("the answer was %+v, and now is %+v", answer, again)
			}

			before := asked.Load()
			c.offer(&webrtc.OfferOptions{ICERestart: true})
			if asked.Load() == before {
				t.Error("the inbox server was not asked for ICE servers again")
			}
			if err := channel.SendText("still there?"); err != nil {
				t.Fatal(err)
			}
			if got := <-messages; string(got.Data) != "still there?" {
				t.Errorf("echoed %q", got.Data)
			}

			c.send(Signal{Type: "bye", Why: "closed"})
			inboxtest.Until(t, "the call is over", func() bool {
				a.mu.Lock()
				defer a.mu.Unlock()
				return a.over[name{id, c.session}]
			})
			c.send(Signal{Type: "offer", N: 1, SDP: c.pc.LocalDescription().SDP})
			if bye := <-c.answers; bye.Type != "bye" || bye.Why != "ended" {
				t.Errorf("received %+v", bye)
			}
		})
	}
}

// A call may have maxChannels channels. A closed channel makes room for another.
func TestChannels(t *testing.T) {
	url, _ := serve(t)
	c := dial(t, url, "alice")
	first, messages, open := c.channel()
	c.offer(nil)
	<-open
	closed := make(chan struct{})
	first.OnClose(func() { close(closed) })
	for range maxChannels - 1 {
		_, _, open := c.channel()
		<-open
	}
	tooMany, _, _ := c.channel()
	refused := make(chan struct{})
	tooMany.OnClose(func() { close(refused) })
	<-refused
	if err := first.SendText("hello"); err != nil {
		t.Fatal(err)
	}
	<-messages
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	<-closed
	inboxtest.Until(t, "a new channel is accepted", func() bool {
		channel, messages, open := c.channel()
		gone := make(chan struct{})
		channel.OnClose(func() { close(gone) })
		select {
		case <-open:
		case <-gone:
			return false
		}
		if err := channel.SendText("hello"); err != nil {
			return false
		}
		select {
		case <-messages:
			return true
		case <-gone:
			return false
		}
	})
}

// A caller that continues an unknown call, such as after a restart of this program,
// gets "bye".
func TestUnknownCall(t *testing.T) {
	url, _ := serve(t)
	c := dial(t, url, "alice")
	c.send(Signal{Type: "candidates"})
	c.send(Signal{Type: "offer", N: 2, SDP: "v=0"})
	if bye := <-c.answers; bye.Type != "bye" || bye.Why != "ended" {
		t.Errorf("received %+v", bye)
	}
	c.send(Signal{Type: "answer", N: 1, SDP: "v=0"})
	if bye := <-c.answers; bye.Type != "bye" || bye.Why != "ended" {
		t.Errorf("received %+v", bye)
	}
}

// Stopping the program hangs up.
func TestBye(t *testing.T) {
	url, _ := serve(t)
	ctx, stop := context.WithCancel(t.Context())
	a := &answerer{inbox: peer(t, url, "echo2"), api: api(), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	ended := make(chan error)
	go func() { ended <- a.run(ctx) }()

	me, err := client.New(client.Config{URL: url + "/inbox", ID: "alice", Password: "x", Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(me.Leave)
	// Invalid signals do no harm. This call never connects.
	for _, body := range []string{"hello", `{"session":"s"}`, `{"session":"s","type":"offer","n":1,"sdp":"nonsense"}`} {
		if err := me.Send(t.Context(), "echo2", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	inboxtest.Until(t, "a call has begun", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.calls) == 1
	})
	stop()
	m, err := me.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := parse(m.Body); s.Type != "bye" || s.Why != "closed" || s.Session != "s" {
		t.Errorf("received %s", m.Body)
	}
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

// A call is reported once: with its path if it connected, and with a cause if it failed.
func TestOutcomes(t *testing.T) {
	url, a := serve(t)
	a.outcomes = true
	c := dial(t, url, "alice")
	_, _, open := c.channel()
	c.offer(nil)
	<-open
	inboxtest.Until(t, "the call is connected", func() bool { return c.pc.ConnectionState() == webrtc.PeerConnectionStateConnected })
	c.send(Signal{Type: "bye", Why: "closed"}) // ends the wait for a better path
	inboxtest.Until(t, "the call is reported", func() bool {
		_, calls := (&outcome.Summary{Counts: &outcomes}).Next()
		return calls > 0
	})
	if line, calls := (&outcome.Summary{Counts: &outcomes}).Next(); line != "100 % direct" || calls != 1 {
		t.Errorf("counted %q of %d calls", line, calls)
	}
	outcomes.Words(outcome.Transport, func(word string, n int64) {
		if n > 0 && word != "udp" {
			t.Errorf("a path over %s", word)
		}
	})
}

// The cause of a failure is derived from the candidates of both sides.
func TestCause(t *testing.T) {
	turn := webrtc.Configuration{ICEServers: []webrtc.ICEServer{{URLs: []string{"turns:turn.example"}}}}
	for _, test := range []struct {
		config webrtc.Configuration
		local  string
		remote string
		want   string
	}{
		{turn, "", "typ host", "no-candidates"},
		{turn, "candidate:1 typ relay", "v=0\r\na=candidate:1 typ relay", "relay-failed"},
		{turn, "candidate:1 typ relay", "candidate:1 typ host", "peer-no-relay"},
		{turn, "candidate:1 typ srflx", "candidate:1 typ relay", "relay-unreachable"},
		{webrtc.Configuration{}, "candidate:1 typ host", "candidate:1 typ host", "no-relay"},
	} {
		c := &call{config: test.config, kinds: make(map[string]bool)}
		c.note("local", test.local)
		c.note("remote", test.remote)
		if got := c.cause(); got != test.want {
			t.Errorf("%s: got %s", test.want, got)
		}
	}
}
