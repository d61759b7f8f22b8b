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

// maxServers bounds the ICE servers that are tried, since each can take a step's timeout.
const maxServers = 32

type iceServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// relayedURL is a TURN URL that works, with its credentials.
type relayedURL struct {
	uri  *stun.URI
	text string
	with iceServer
}

// calls checks the servers that help browsers connect.
func (c *checker) calls(ctx context.Context) {
	a := newPeer()
	defer c.leave(ctx, a)
	if !c.do(ctx, "ICE servers", func(ctx context.Context) Result { return c.iceServers(ctx, a) }) {
		c.skip("relay", "There is no TURN server to check.")
		return
	}
	for _, server := range c.ice {
		for _, text := range server.URLs {
			c.do(ctx, kind(text), func(ctx context.Context) Result { return c.try(ctx, text, server) })
		}
	}
	if len(c.relayed) == 0 {
		c.skip("relay", "No TURN server provides an address.")
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
		return refused("The server does not list its ICE servers", resp)
	}
	var answer struct {
		ICEServers []iceServer `json:"iceServers"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil {
		return failed("Check the proxy in front of the server.", "The list of ICE servers is malformed.")
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
	case n > maxServers:
		c.ice = nil
		return failed("Check the URL and --ice-server.", "The server lists %d ICE servers, more than a browser tries.", n)
	case n == 0:
		return warning("Keep the default of --turn, or add servers with --ice-server.",
			"The server lists no STUN or TURN server: only peers on the same network can connect.")
	case relays == 0:
		return warning("Keep the default of --turn, or add a TURN server with --ice-server.",
			"The server lists %d ICE servers, but none for TURN: peers behind strict firewalls cannot connect.", n)
	}
	return ok("The server lists %d ICE servers, %d of them for TURN.", n, relays)
}

// kind returns the name of the check for a URL.
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
		return failed("Check --ice-server.", "Browsers reject %s.", text)
	}
	advice := fmt.Sprintf("Open %s port %d in the firewall.", strings.ToUpper(uri.Proto.String()), uri.Port)
	client, err := c.dial(ctx, uri, server)
	if err != nil {
		return failed(advice, "Cannot connect to %s: %s.", text, plain(err))
	}
	defer client.close()
	if uri.Scheme == stun.SchemeTypeSTUN || uri.Scheme == stun.SchemeTypeSTUNS {
		mapped, err := await(ctx, client.SendBindingRequest)
		if err != nil {
			return failed(advice, "%s does not respond.", text)
		}
		host, _, _ := net.SplitHostPort(mapped.String())
		return ok("%s sees this machine as %s.", text, host)
	}
	relay, err := await(ctx, client.Allocate)
	if err != nil {
		return failed(advice+" If it is open, compare the clocks and secrets of both servers.", "%s provides no address: %s.", text, turnError(err))
	}
	relay.Close()
	c.relayed = append(c.relayed, relayedURL{uri, text, server})
	if uri.Scheme == stun.SchemeTypeTURNS && c.Insecure {
		return warning("Browsers do not use TURN over TLS with an untrusted certificate.", "%s provides an address.", text)
	}
	return ok("%s provides an address.", text)
}

// turnClient also closes the connection that it uses.
type turnClient struct {
	*turn.Client
	conn net.PacketConn
}

func (c turnClient) close() {
	c.Client.Close()
	c.conn.Close()
}

// dial connects to the STUN or TURN server at a URL.
func (c *checker) dial(ctx context.Context, uri *stun.URI, server iceServer) (turnClient, error) {
	address := net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port))
	var conn net.PacketConn
	switch {
	case uri.Proto == stun.ProtoTypeUDP:
		// Connect first, to find out which address family works.
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
		// As in browsers: relayed addresses of two families could not reach each other.
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

// await waits for f until ctx ends. Closing the client ends f.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
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

// turnError extracts the server's response from an error of pion.
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

// relay sends a packet between two relayed addresses in both directions.
func (c *checker) relay(ctx context.Context) Result {
	ends := make([]net.PacketConn, 2)
	urls := []relayedURL{c.relayed[0], c.relayed[len(c.relayed)-1]}
	for i, u := range urls {
		client, err := c.dial(ctx, u.uri, u.with)
		if err != nil {
			return failed("", "%s no longer responds: %s.", u.text, plain(err))
		}
		defer client.close()
		if ends[i], err = await(ctx, client.Allocate); err != nil {
			return failed("", "%s provides no second address: %s.", u.text, turnError(err))
		}
		defer ends[i].Close()
	}
	there, err := c.pass(ctx, ends[0], ends[1])
	if err == nil {
		_, err = c.pass(ctx, ends[1], ends[0])
	}
	if err != nil {
		return failed("Peers cannot reach each other through this relay: see docs/connecting.md.",
			"Packets do not pass through the relay.")
	}
	return ok("Packets pass through the relay in both directions, from %s to %s, in %s.", urls[0].text, urls[1].text, there.Round(100*time.Microsecond))
}

// pass sends a packet repeatedly until it arrives. The first packets may arrive before
// the permission for them.
func (c *checker) pass(ctx context.Context, from, to net.PacketConn) (time.Duration, error) {
	// The other end permits the sender by sending to it.
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

// forbidden are addresses that no relay may send to, in notations that have bypassed the
// filters of other relays.
var forbidden = []string{
	"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
	"::1", "::", "::ffff:127.0.0.1", "fd00::1", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::",
}

// relayIsClosed checks that the relay does not let strangers into the server's network.
func (c *checker) relayIsClosed(ctx context.Context) Result {
	u := c.relayed[0]
	client, err := c.dial(ctx, u.uri, u.with)
	if err != nil {
		return failed("", "%s no longer responds: %s.", u.text, plain(err))
	}
	defer client.close()
	relay, err := await(ctx, client.Allocate)
	if err != nil {
		return failed("", "%s provides no third address: %s.", u.text, turnError(err))
	}
	defer relay.Close()
	const advice = "Update the TURN server, or deny these addresses in its configuration: strangers can reach the network behind it."
	for _, text := range forbidden {
		address := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(text), 80))
		_, err := await(ctx, func() (struct{}, error) { return struct{}{}, client.CreatePermission(address) })
		if err == nil {
			return Result{State: Open, Detail: "The relay allows its clients to send to " + text + ".", Advice: advice}
		}
		if ctx.Err() != nil {
			return failed("", "The relay does not respond to every request.")
		}
	}
	stranger, err := c.dial(ctx, u.uri, u.with)
	if err != nil {
		return failed("", "%s no longer responds: %s.", u.text, plain(err))
	}
	defer stranger.close()
	if allocation, err := await(ctx, stranger.AllocateTCP); err == nil {
		allocation.Close()
		return Result{State: Open, Detail: "The relay opens TCP connections for its clients (RFC 6062).", Advice: "Turn off TCP relaying in the TURN server (no-tcp-relay in coturn)."}
	}
	return ok("The relay refuses all of %d forbidden addresses, and TCP connections.", len(forbidden))
}
