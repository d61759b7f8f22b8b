package check

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// mostServers is how many ICE servers are tried, which takes up to a step's time each.
const mostServers = 32

type iceServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// relayedURL is a TURN URL that works, with the credentials of two peers.
type relayedURL struct {
	uri  *stun.URI
	text string
	with iceServer
}

// calls checks what helps browsers to connect.
func (c *checker) calls(ctx context.Context) {
	a := newPeer()
	defer c.leave(ctx, a)
	if !c.do(ctx, "ICE servers", func(ctx context.Context) Result { return c.iceServers(ctx, a) }) {
		c.skip("relay", "There is no TURN server to try.")
		return
	}
	for _, server := range c.ice {
		for _, text := range server.URLs {
			c.do(ctx, kind(text), func(ctx context.Context) Result { return c.try(ctx, text, server) })
		}
	}
	if len(c.relayed) == 0 {
		c.skip("relay", "No TURN server gives an address.")
		return
	}
	c.do(ctx, "relay", c.relay)
	c.do(ctx, "closed relay", c.relayIsClosed)
}

func (c *checker) iceServers(ctx context.Context, a peer) Result {
	resp, err := c.get(ctx, "ice", nil, &a)
	if err != nil {
		return noAnswer(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused("The server names no ICE servers", resp)
	}
	var answer struct {
		ICEServers []iceServer `json:"iceServers"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil {
		return failed("Check the proxy in front.", "The list of ICE servers cannot be read.")
	}
	c.ice = answer.ICEServers
	n, relays := 0, 0
	for _, server := range c.ice {
		n += len(server.URLs)
		for _, text := range server.URLs {
			if strings.HasPrefix(text, "turn") {
				relays++
			}
		}
	}
	switch {
	case n > mostServers:
		c.ice = nil
		return failed("Check the URL, and --ice-server.", "The server names %d ICE servers: no browser tries so many.", n)
	case n == 0:
		return warning("Leave --turn at closed, or name servers with --ice-server.",
			"The server names no STUN and no TURN server: only peers of one network connect.")
	case relays == 0:
		return warning("Leave --turn at closed, or name a TURN server with --ice-server.",
			"The server names %d ICE servers, but none for TURN: peers behind strict networks do not connect.", n)
	}
	return ok("The server names %d ICE servers, %d of them for TURN.", n, relays)
}

// kind is the name of the check of a URL.
func kind(text string) string {
	switch {
	case strings.HasPrefix(text, "stun"):
		return "STUN"
	case strings.HasPrefix(text, "turns"):
		return "TURN over TLS"
	case strings.HasSuffix(text, "transport=tcp"):
		return "TURN over TCP"
	}
	return "TURN over UDP"
}

// try checks one STUN or TURN URL.
func (c *checker) try(ctx context.Context, text string, server iceServer) Result {
	uri, err := stun.ParseURI(text)
	if err != nil {
		return failed("Check --ice-server.", "Browsers cannot read %s.", text)
	}
	advice := fmt.Sprintf("Let the firewall pass %s to port %d.", strings.ToUpper(uri.Proto.String()), uri.Port)
	client, err := c.dial(ctx, uri, server)
	if err != nil {
		return failed(advice, "No connection to %s: %s.", text, plain(err))
	}
	defer client.close()
	if uri.Scheme == stun.SchemeTypeSTUN || uri.Scheme == stun.SchemeTypeSTUNS {
		mapped, err := within(ctx, client.SendBindingRequest)
		if err != nil {
			return failed(advice, "%s does not answer.", text)
		}
		host, _, _ := net.SplitHostPort(mapped.String())
		return ok("%s sees this machine as %s.", text, host)
	}
	relay, err := within(ctx, client.Allocate)
	if err != nil {
		return failed(advice+" If it does, compare the clocks and the secrets of both servers.", "%s gives no address: %s.", text, turnError(err))
	}
	relay.Close()
	c.relayed = append(c.relayed, relayedURL{uri, text, server})
	if uri.Scheme == stun.SchemeTypeTURNS && c.Insecure {
		return warning("Browsers use no TURN over TLS with a certificate that they do not trust.", "%s gives an address.", text)
	}
	return ok("%s gives an address.", text)
}

// turnClient closes what it is built on, too.
type turnClient struct {
	*turn.Client
	conn net.PacketConn
}

func (c turnClient) close() {
	c.Client.Close()
	c.conn.Close()
}

// dial connects to a STUN or TURN server as its URL says.
func (c *checker) dial(ctx context.Context, uri *stun.URI, server iceServer) (turnClient, error) {
	address := net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port))
	var conn net.PacketConn
	switch {
	case uri.Proto == stun.ProtoTypeUDP:
		// Connected first, to learn which family gets through.
		probe, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
		if err != nil {
			return turnClient{}, err
		}
		address = probe.RemoteAddr().String()
		local := probe.LocalAddr().(*net.UDPAddr)
		probe.Close()
		if conn, err = net.ListenPacket("udp", net.JoinHostPort(local.IP.String(), "0")); err != nil {
			return turnClient{}, err
		}
	default:
		stream, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return turnClient{}, err
		}
		if uri.Scheme == stun.SchemeTypeTURNS || uri.Scheme == stun.SchemeTypeSTUNS {
			secure := tls.Client(stream, &tls.Config{ServerName: uri.Host, InsecureSkipVerify: c.Insecure})
			if err := secure.HandshakeContext(ctx); err != nil {
				stream.Close()
				return turnClient{}, err
			}
			stream = secure
		}
		conn = turn.NewSTUNConn(stream)
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn, LoggerFactory: quiet,
		Username: server.Username, Password: server.Credential,
		// As browsers: an address of the other family reaches no peer.
		RequestedAddressFamily: turn.RequestedAddressFamilyIPv4,
	})
	if err == nil {
		err = client.Listen()
	}
	if err != nil {
		conn.Close()
		return turnClient{}, err
	}
	return turnClient{client, conn}, nil
}

// within waits for f until ctx ends. What f waits for ends with its client.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// turnError is the part of an error of pion that says what the server answered.
func turnError(err error) string {
	text := plain(err)
	if i := strings.LastIndex(text, "error "); i >= 0 {
		text = text[i:]
	}
	return strings.TrimSuffix(text, ")")
}

const (
	relayPackets = 20
	resend       = 200 * time.Millisecond
)

// relay sends packets from one relayed address to another and back.
func (c *checker) relay(ctx context.Context) Result {
	ends := make([]net.PacketConn, 2)
	urls := []relayedURL{c.relayed[0], c.relayed[len(c.relayed)-1]}
	for i, u := range urls {
		client, err := c.dial(ctx, u.uri, u.with)
		if err != nil {
			return failed("", "%s no longer answers: %s.", u.text, plain(err))
		}
		defer client.close()
		if ends[i], err = within(ctx, client.Allocate); err != nil {
			return failed("", "%s gives no second address: %s.", u.text, turnError(err))
		}
		defer ends[i].Close()
	}
	there, err := c.pass(ctx, ends[0], ends[1])
	if err == nil {
		_, err = c.pass(ctx, ends[1], ends[0])
	}
	if err != nil {
		return failed("Peers whose addresses are at this relay do not reach each other: see docs/connecting.md.",
			"A packet does not get through the relay.")
	}
	return ok("Packets get through the relay both ways, from %s to %s, in %s.", urls[0].text, urls[1].text, there.Round(100*time.Microsecond))
}

// pass sends a packet again and again until it has arrived: the first ones may meet
// permissions that are not there yet.
func (c *checker) pass(ctx context.Context, from, to net.PacketConn) (time.Duration, error) {
	// The other end permits the sender by a packet of its own.
	hello := []byte("inbox check")
	arrived := make(chan error, 1)
	go func() {
		packet := make([]byte, 1500)
		for {
			n, _, err := to.ReadFrom(packet)
			if err != nil || string(packet[:n]) == string(hello) {
				arrived <- err
				return
			}
		}
	}()
	defer to.SetReadDeadline(time.Time{})
	for range relayPackets {
		began := time.Now()
		if _, err := to.WriteTo([]byte("permit"), from.LocalAddr()); err != nil {
			return 0, err
		}
		if _, err := from.WriteTo(hello, to.LocalAddr()); err != nil {
			return 0, err
		}
		select {
		case err := <-arrived:
			return time.Since(began), err
		case <-time.After(resend):
		case <-ctx.Done():
			to.SetReadDeadline(time.Now())
			return 0, ctx.Err()
		}
	}
	to.SetReadDeadline(time.Now())
	return 0, errors.New("no packet arrived")
}

// forbidden are peers that no relay may reach, in spellings that slipped through relays
// before.
var forbidden = []string{
	"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
	"::1", "::", "::ffff:127.0.0.1", "fd00::1", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::",
}

// relayIsClosed tries what would let strangers into the network of the server.
func (c *checker) relayIsClosed(ctx context.Context) Result {
	u := c.relayed[0]
	client, err := c.dial(ctx, u.uri, u.with)
	if err != nil {
		return failed("", "%s no longer answers: %s.", u.text, plain(err))
	}
	defer client.close()
	relay, err := within(ctx, client.Allocate)
	if err != nil {
		return failed("", "%s gives no third address: %s.", u.text, turnError(err))
	}
	defer relay.Close()
	const advice = "Update the TURN server, or deny these addresses in it: strangers reach the network behind it."
	for _, text := range forbidden {
		address := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(text), 80))
		_, err := within(ctx, func() (struct{}, error) { return struct{}{}, client.CreatePermission(address) })
		if err == nil {
			return Result{State: Open, Detail: "The relay lets its clients send to " + text + ".", Advice: advice}
		}
		if ctx.Err() != nil {
			return failed("", "The relay does not answer every request.")
		}
	}
	stranger, err := c.dial(ctx, u.uri, u.with)
	if err != nil {
		return failed("", "%s no longer answers: %s.", u.text, plain(err))
	}
	defer stranger.close()
	if allocation, err := within(ctx, stranger.AllocateTCP); err == nil {
		allocation.Close()
		return Result{State: Open, Detail: "The relay opens TCP connections for its clients (RFC 6062).", Advice: "Switch TCP relaying off in the TURN server, for coturn: no-tcp-relay."}
	}
	return ok("The relay refuses %d addresses that it must refuse, and TCP connections.", len(forbidden))
}
