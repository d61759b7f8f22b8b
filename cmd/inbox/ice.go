package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"inbox/inboxhttp"
	"inbox/internal/outcome"
	"inbox/internal/turncred"
)

// iceFlags are the settings of /ice and /outcome.
type iceFlags struct {
	ICEServer     []string `name:"ice-server" sep:"," placeholder:"URL" group:"Calls" help:"A STUN or TURN server that clients are told of, as in stun:stun.example.com:3478 or turns:turn.example.com. Repeatable."`
	ICESecretFile string   `name:"ice-secret-file" type:"path" placeholder:"FILE" group:"Calls" help:"Holds the secret that the TURN servers of --ice-server share with this one: static-auth-secret of coturn."`
	ICEPublic     bool     `name:"ice-public" group:"Calls" help:"Tell STUN and TURN servers to pages of --allow-origin without a password, as PeerJS, y-webrtc and Trystero need it."`
	Outcomes      bool     `name:"outcomes" default:"true" group:"Calls" help:"Count how calls of clients went, without ids and addresses; --outcomes=false does not."`
}

// iceURL is RFC 7064 and RFC 7065.
var iceURL = regexp.MustCompile(`^(?i)(stuns?|turns?):(\[[0-9a-f:.]+\]|[^\[\]:/?#@\s]+)(:[0-9]{1,5})?(\?transport=(udp|tcp))?$`)

// checkICE refuses URLs that no browser takes, and a secret that nothing is for.
func (c *iceFlags) checkICE() error {
	relays := false
	for _, url := range c.ICEServer {
		part := iceURL.FindStringSubmatch(url)
		if part == nil {
			return fmt.Errorf("--ice-server: %q is not of the form stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp]", url)
		}
		port, err := strconv.ParseUint(strings.TrimPrefix(part[3]+"1", ":"), 10, 32) // "1" stands for none
		isRelay := strings.HasPrefix(strings.ToLower(part[1]), "turn")
		switch {
		case err != nil || part[3] != "" && (port/10 < 1 || port/10 > 65535):
			return fmt.Errorf("--ice-server: %q: the port is not a number from 1 to 65535", url)
		case !isRelay && part[4] != "":
			return fmt.Errorf("--ice-server: %q: only turn: and turns: have a transport", url)
		}
		relays = relays || isRelay
	}
	switch {
	case relays && c.ICESecretFile == "":
		return errors.New("--ice-server with turn: or turns: needs --ice-secret-file, the secret that it shares with the TURN server")
	case !relays && c.ICESecretFile != "":
		return errors.New("--ice-secret-file is for turn: and turns: in --ice-server")
	}
	return nil
}

// warnICE logs settings of /ice that work, but not as somebody may expect.
func (c *serveCommand) warnICE(log *slog.Logger) {
	if c.ICEPublic && len(c.AllowOrigin) == 1 && c.AllowOrigin[0] == "*" {
		log.Warn("--ice-public with --allow-origin '*': pages of every origin may use the TURN servers: name the origins of yours")
	}
}

// relayed is where clients find the relay of this server. The zero value is none.
type relayed struct {
	host     string // under which clients reach it; empty: that of their request
	udp, tcp uint16 // ports; 0: no such listener
	tls      uint16 // port on which TURN over TLS is spoken beside HTTPS; 0: that of the request
	trusted  bool   // browsers trust its certificate, so they can use TURN over TLS

	authority *turncred.Authority // of its credentials; nil: there is no relay
}

// trusted reports whether browsers trust the certificate of this server, as far as it can
// tell. They never ask their user about the one of a TURN server.
func (c *serveCommand) trusted(certs *certificates) bool {
	switch c.TLS {
	case "acme":
		return c.TLSDirectory != "letsencrypt-staging"
	case "files":
		cert, err := certs.config.GetCertificate(nil)
		return err == nil && cert.Leaf != nil && !bytes.Equal(cert.Leaf.RawIssuer, cert.Leaf.RawSubject) // it signed itself
	}
	return false
}

// iceServers returns the function that lists the STUN and TURN servers of a client: those
// of --ice-server, and the relay of this server.
func (c *iceFlags) iceServers(own relayed) (func(*http.Request, string) []inboxhttp.ICEServer, error) {
	var stun, turn []string
	for _, url := range c.ICEServer {
		if strings.HasPrefix(strings.ToLower(url), "turn") {
			turn = append(turn, url)
		} else {
			stun = append(stun, url)
		}
	}
	var external *turncred.Authority
	if len(turn) > 0 {
		content, err := os.ReadFile(c.ICESecretFile)
		if err != nil {
			return nil, fmt.Errorf("--ice-secret-file: %w", err)
		}
		secret := strings.TrimRight(string(content), "\r\n")
		if secret == "" {
			return nil, fmt.Errorf("--ice-secret-file: %s is empty", c.ICESecretFile)
		}
		external = turncred.New(secret)
	}
	return func(r *http.Request, id string) (all []inboxhttp.ICEServer) {
		if len(stun) > 0 {
			all = append(all, inboxhttp.ICEServer{URLs: stun})
		}
		if external != nil {
			all = append(all, relayServer(turn, external, id))
		}
		stun, turn := own.urls(r)
		// One STUN server finds all that two would.
		if stun != "" && len(all) == 0 {
			all = append(all, inboxhttp.ICEServer{URLs: []string{stun}})
		}
		if len(turn) > 0 {
			all = append(all, relayServer(turn, own.authority, id))
		}
		return all
	}, nil
}

func relayServer(urls []string, authority *turncred.Authority, id string) inboxhttp.ICEServer {
	minted := authority.Mint(id, time.Now())
	return inboxhttp.ICEServer{URLs: urls, Username: minted.Username, Credential: minted.Password}
}

// urls returns how the client that made a request reaches this server's relay: one URL for
// STUN, and at most two for TURN. From three on, Firefox warns that they slow it down.
func (o relayed) urls(r *http.Request) (stun string, turn []string) {
	if o.authority == nil {
		return "", nil
	}
	host, port := hostOf(r)
	if o.host != "" {
		host = o.host
	}
	if host == "" {
		return "", nil
	}
	ip, err := netip.ParseAddr(host)
	isName := err != nil
	if ip.Is6() {
		host = "[" + ip.String() + "]"
	}
	at := func(scheme string, port uint16, transport string) string {
		url := scheme + ":" + host + ":" + strconv.Itoa(int(port))
		if transport != "" {
			url += "?transport=" + transport
		}
		return url
	}
	if o.udp != 0 {
		stun = at("stun", o.udp, "")
		turn = append(turn, at("turn", o.udp, "udp"))
	}
	// Firefox does not try turns: with an address, and says nothing about it.
	if o.trusted && r.TLS != nil && isName {
		if o.tls != 0 {
			port = o.tls
		}
		turn = append(turn, at("turns", port, "tcp"))
	}
	if o.tcp != 0 && len(turn) < 2 {
		turn = append(turn, at("turn", o.tcp, "tcp"))
	}
	return stun, turn
}

// hostName is what may stand in the URL of an ICE server.
var hostName = regexp.MustCompile(`^[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_.])?$`)

// hostOf returns the host under which a client reached this server, and the port: of
// HTTPS if the Host names none. The host is empty if no ICE server can be at such a one.
func hostOf(r *http.Request) (host string, port uint16) {
	host, number, err := net.SplitHostPort(r.Host)
	if err != nil { // without a port
		host, number = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]"), "443"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return "", 0
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.WithZone("").String(), uint16(n)
	}
	if len(host) > 253 || !hostName.MatchString(host) {
		return "", 0
	}
	return host, uint16(n)
}

// counts returns where outcomes are counted, or nil if they are not.
func (c *iceFlags) counts() *outcome.Counts {
	if !c.Outcomes {
		return nil
	}
	return new(outcome.Counts)
}

// summaryInterval is how often the server logs how calls went.
const summaryInterval = time.Hour

// summarize logs once an hour how calls went, if there were any, until ctx ends.
// It returns at once if counts is nil.
func summarize(ctx context.Context, counts *outcome.Counts, log *slog.Logger) {
	if counts == nil {
		return
	}
	tick := time.NewTicker(summaryInterval)
	defer tick.Stop()
	summary := outcome.Summary{Counts: counts}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if line, calls := summary.Next(); calls > 0 {
				log.Info("calls in the last hour: "+line, "calls", calls)
			}
		}
	}
}
