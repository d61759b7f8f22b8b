package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"inbox/internal/relay"
	"inbox/internal/server"
	"inbox/internal/turncred"
)

// turnFlags configure the relay.
type turnFlags struct {
	Turn          string         `name:"turn" default:"closed" enum:"closed,open,off" group:"Calls" help:"TURN relay for calls whose peers cannot connect directly. closed: relay between clients of this server, in memory; open: also to any public address, from UDP ports of this machine; off: no relay."`
	TurnListen    string         `name:"turn-listen" default:":3478" placeholder:"ADDRESS" group:"Calls" help:"Where the relay listens, over UDP and TCP: [IP]:PORT (${default}). With --tls it also listens on the HTTPS port. If the port is taken, the server starts without it."`
	TurnHost      string         `name:"turn-host" placeholder:"HOST" group:"Calls" help:"Name or address under which clients reach the relay, if it differs from this server's. With closed, servers that share a Redis need the same name: all clients then use that relay."`
	TurnRate      size           `name:"turn-rate" default:"1MiB" group:"Calls" help:"Bytes per second that the clients of one inbox may relay; 0: no limit."`
	TurnRateTotal size           `name:"turn-rate-total" default:"16MiB" group:"Calls" help:"Bytes per second that all clients may relay; 0: no limit."`
	TurnAddress   netip.Addr     `name:"turn-address" default:"198.51.100.1" placeholder:"IP" group:"Calls" help:"With closed: relay address that clients see. It must be unused (${default})."`
	TurnIP        []string       `name:"turn-ip" sep:"," placeholder:"IP[/LOCAL]" group:"Calls" help:"With open: this machine's public address, followed by its local one behind a 1:1 NAT. Repeatable, for IPv4 and IPv6."`
	TurnPorts     portRange      `name:"turn-ports" default:"49160-49359" placeholder:"PORTS" group:"Calls" help:"With open: UDP ports to relay from (${default}). Each call takes one to eight."`
	TurnAllow     []netip.Prefix `name:"turn-allow" sep:"," placeholder:"CIDR" group:"Calls" help:"With open: private addresses that may be relayed to and used in --turn-ip. Repeatable."`
}

// portRange is the value of a flag such as 49160-49359.
type portRange struct{ First, Last uint16 }

func (p *portRange) UnmarshalText(text []byte) error {
	first, last, ok := strings.Cut(string(text), "-")
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err != nil || err2 != nil || a < 1024 || b < a {
		return errors.New("invalid ports, want FIRST-LAST, as in 49160-49359, from 1024 up")
	}
	p.First, p.Last = uint16(a), uint16(b)
	return nil
}

func (p portRange) String() string { return fmt.Sprintf("%d-%d", p.First, p.Last) }

var defaultTurnPorts = portRange{49160, 49359}

// checkTurn rejects relay settings that cannot work or contradict each other.
func (c *turnFlags) checkTurn() error {
	if _, _, err := c.turnListen(); err != nil {
		return err
	}
	if c.TurnHost != "" {
		ip, err := netip.ParseAddr(c.TurnHost)
		if err != nil && (len(c.TurnHost) > 253 || !hostName.MatchString(c.TurnHost)) || ip.Zone() != "" {
			return fmt.Errorf("--turn-host: %q is not a host name or an IP address", c.TurnHost)
		}
	}
	if err := cmp.Or(atLeast(0, "--turn-rate", c.TurnRate), atLeast(0, "--turn-rate-total", c.TurnRateTotal)); err != nil {
		return err
	}
	if c.Turn != "open" {
		if len(c.TurnIP) > 0 || len(c.TurnAllow) > 0 || c.TurnPorts != defaultTurnPorts {
			return errors.New("--turn-ip, --turn-ports and --turn-allow require --turn open")
		}
		if !c.TurnAddress.Is4() || c.TurnAddress.IsUnspecified() || c.TurnAddress.IsMulticast() {
			return errors.New("--turn-address must be an unused IPv4 address, as in 198.51.100.1")
		}
		return nil
	}
	if len(c.TurnIP) == 0 {
		return errors.New("--turn open requires --turn-ip, the public address of this machine")
	}
	open, err := c.open()
	if err == nil {
		err = open.Check()
	}
	if err != nil {
		return fmt.Errorf("--turn-ip: %w", err)
	}
	return nil
}

// turnListen parses --turn-listen. An invalid host stands for all addresses.
func (c *turnFlags) turnListen() (host netip.Addr, port uint16, err error) {
	text, number, err := net.SplitHostPort(c.TurnListen)
	if err != nil {
		return host, 0, errors.New("--turn-listen must be [IP]:PORT, as in :3478")
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return host, 0, fmt.Errorf("--turn-listen: port %q is not a number from 0 to 65535", number)
	}
	if text != "" {
		if host, err = netip.ParseAddr(text); err != nil {
			return host, 0, fmt.Errorf("--turn-listen: %q is not an IP address", text)
		}
		if host.IsUnspecified() {
			host = netip.Addr{}
		}
	}
	return host.Unmap(), uint16(n), nil
}

// open returns the configuration of open mode.
func (c *turnFlags) open() (relay.Open, error) {
	o := relay.Open{First: c.TurnPorts.First, Last: c.TurnPorts.Last, Allow: c.TurnAllow}
	for _, text := range c.TurnIP {
		public, local, both := strings.Cut(text, "/")
		if !both {
			local = public
		}
		var m relay.Mapped
		var err, err2 error
		m.Public, err = netip.ParseAddr(public)
		m.Local, err2 = netip.ParseAddr(local)
		if err != nil || err2 != nil || m.Public.Zone() != "" {
			return o, fmt.Errorf("%q, want IP or PUBLIC/LOCAL, as in 203.0.113.5/10.0.0.5", text)
		}
		m.Public, m.Local = m.Public.Unmap(), m.Local.Unmap()
		o.Addresses = append(o.Addresses, m)
	}
	return o, nil
}

// turnServer creates the relay and the hook through which it shares the HTTPS port. It
// returns nil with --turn off.
func (c *serveCommand) turnServer(authority *turncred.Authority, log *slog.Logger) (*relay.Server, *server.Other, error) {
	if c.Turn == "off" {
		return nil, nil, nil
	}
	config := relay.Config{Credentials: authority, Log: log, Rate: int64(c.TurnRate), RateTotal: int64(c.TurnRateTotal), Address: c.TurnAddress}
	if c.Turn == "open" {
		open, err := c.open()
		if err != nil {
			return nil, nil, err
		}
		config.Open = &open
	}
	turn, err := relay.New(config)
	if err != nil {
		return nil, nil, err
	}
	return turn, &server.Other{ALPN: []string{"stun.turn"}, Begins: relay.Begins, Serve: turn.ServeConn}, nil
}

// listenTurn listens for clients of the relay and returns where. The server starts even
// if the port is taken.
func (c *serveCommand) listenTurn(ctx context.Context, turn *relay.Server, authority *turncred.Authority, log *slog.Logger) relayed {
	if turn == nil {
		return relayed{}
	}
	own := relayed{authority: authority, host: c.TurnHost}
	host, port, err := c.turnListen()
	if err != nil {
		panic(err) // checked by Validate
	}
	at := net.JoinHostPort("", strconv.Itoa(int(port)))
	if host.IsValid() {
		at = netip.AddrPortFrom(host, port).String()
	}
	ln, tcpErr := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", at)
	if tcpErr == nil {
		own.tcp = ln.Addr().(*net.TCPAddr).AddrPort().Port()
		tcpErr = turn.Serve(server.Reserve(ln, log))
		port = own.tcp
	}
	var udpErr error
	own.udp, udpErr = turn.ListenUDP(host, port)
	c.announceTurn(own, tcpErr, udpErr, log)
	if c.Turn == "closed" && c.Store != inMemory && c.TurnHost == "" {
		log.Warn("the relay only connects clients of the same server: if several servers share this Redis, set the same --turn-host on all of them, or use --turn open")
	}
	return own
}

// announceTurn logs in one line where the relay listens and where it cannot.
func (c *serveCommand) announceTurn(own relayed, tcpErr, udpErr error, log *slog.Logger) {
	var where []string
	switch {
	case own.udp != 0 && own.udp == own.tcp:
		where = append(where, fmt.Sprintf("UDP and TCP port %d", own.udp))
	case own.udp != 0 && own.tcp != 0:
		where = append(where, fmt.Sprintf("UDP port %d and TCP port %d", own.udp, own.tcp))
	case own.udp != 0:
		where = append(where, fmt.Sprintf("UDP port %d", own.udp))
	case own.tcp != 0:
		where = append(where, fmt.Sprintf("TCP port %d", own.tcp))
	}
	if c.TLS != "off" {
		where = append(where, "the HTTPS port")
	}
	if failed := reasons(tcpErr, udpErr); failed != "" {
		rest := "calls that need a relay will fail"
		if len(where) > 0 {
			rest = "the relay for calls listens on " + strings.Join(where, ", and on ")
		}
		log.Warn("--turn-listen "+c.TurnListen+": "+failed+"; "+rest, "mode", c.Turn)
		return
	}
	log.Info("the relay for calls listens on "+strings.Join(where, ", and on "), "mode", c.Turn)
}

// reasons describes in a few words why listeners failed.
func reasons(tcp, udp error) string {
	why := func(err error) string {
		var call *os.SyscallError
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return "the port is taken"
		case errors.As(err, &call):
			return call.Err.Error()
		}
		return err.Error()
	}
	switch {
	case tcp != nil && udp != nil && why(tcp) == why(udp):
		return why(tcp)
	case tcp != nil && udp != nil:
		return "TCP: " + why(tcp) + ", UDP: " + why(udp)
	case tcp != nil:
		return "TCP: " + why(tcp)
	case udp != nil:
		return "UDP: " + why(udp)
	}
	return ""
}
