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

// iceFlags configure /ice and /outcome.
type iceFlags struct {
	ICEServer     []string `name:"ice-server" sep:"," placeholder:"URL" group:"Calls" help:"STUN or TURN server to offer to clients, as in stun:stun.example.com:3478 or turns:turn.example.com. Repeatable."`
	ICESecretFile string   `name:"ice-secret-file" type:"path" placeholder:"FILE" group:"Calls" help:"File with the secret shared with the TURN servers of --ice-server (static-auth-secret of coturn)."`
	ICEPublic     bool     `name:"ice-public" group:"Calls" help:"Offer STUN and TURN servers without a password to pages of --allow-origin. PeerJS, y-webrtc and Trystero need this."`
	Outcomes      bool     `name:"outcomes" default:"true" group:"Calls" help:"Count how calls went, without ids or addresses. --outcomes=false turns this off."`
}

// iceURL matches the URLs of RFC 7064 and RFC 7065.
var iceURL = regexp.MustCompile(`^(?i)(stuns?|turns?):(\[[0-9a-f:.]+\]|[^\[\]:/?#@\s]+)(:[0-9]{1,5})?(\?transport=(udp|tcp))?$`)

// checkICE rejects URLs that browsers do not accept, and a secret without a TURN server.
func (c *iceFlags) checkICE() error {
	relays := false
	for _, url := range c.ICEServer {
		part := iceURL.FindStringSubmatch(url)
		if part == nil {
			return fmt.Errorf("--ice-server: %q, want stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp]", url)
		}
		port, err := strconv.ParseUint(strings.TrimPrefix(part[3]+"1", ":"), 10, 32) // the appended 1 handles a missing port
		isRelay := strings.HasPrefix(strings.ToLower(part[1]), "turn")
		switch {
		case err != nil || part[3] != "" && (port/10 < 1 || port/10 > 65535):
			return fmt.Errorf("--ice-server: %q: the port must be a number from 1 to 65535", url)
		case !isRelay && part[4] != "":
			return fmt.Errorf("--ice-server: %q: only turn: and turns: URLs have a transport", url)
		}
		relays = relays || isRelay
	}
	switch {
	case relays && c.ICESecretFile == "":
		return errors.New("--ice-server with turn: or turns: requires --ice-secret-file, the secret shared with the TURN server")
	case !relays && c.ICESecretFile != "":
		return errors.New("--ice-secret-file requires a turn: or turns: URL in --ice-server")
	}
	return nil
}

// warnICE logs valid settings of /ice that have surprising effects.
func (c *serveCommand) warnICE(log *slog.Logger) {
	if c.ICEPublic && len(c.AllowOrigin) == 1 && c.AllowOrigin[0] == "*" {
		log.Warn("--ice-public with --allow-origin '*' lets pages of every origin use the TURN servers: list your own origins")
	}
}

// relayed describes how clients reach this server's relay. The zero value means that
// there is no relay.
type relayed struct {
	host     string // host for clients; empty: the host of their request
	udp, tcp uint16 // ports; 0: not listening
	tls      uint16 // port that serves TURN over TLS next to HTTPS; 0: the port of the request
	trusted  bool   // browsers trust the certificate, so they can use TURN over TLS

	authority *turncred.Authority // issues credentials; nil: no relay
}

// trusted reports whether browsers trust this server's certificate, as far as the server
// can know. Browsers never let the user accept an untrusted certificate of a TURN server.
func (c *serveCommand) trusted(certs *certificates) bool {
	switch c.TLS {
	case "acme":
		return c.TLSDirectory != "letsencrypt-staging"
	case "files":
		cert, err := certs.config.GetCertificate(nil)
		return err == nil && cert.Leaf != nil && !bytes.Equal(cert.Leaf.RawIssuer, cert.Leaf.RawSubject) // not self-signed
	}
	return false
}

// iceServers returns a function that lists a client's STUN and TURN servers: those of
// --ice-server, and this server's relay.
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
		// A second STUN server would find the same addresses.
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

// urls returns the URLs of this server's relay for the client that made r: one for STUN
// and at most two for TURN. With three or more, Firefox warns that discovery is slow.
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
	// Firefox silently ignores turns: URLs with an IP address.
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

// hostName matches host names that are valid in the URL of an ICE server.
var hostName = regexp.MustCompile(`^[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_.])?$`)

// hostOf returns the host and port of the request's Host header. The port defaults to
// 443. The host is empty if it cannot be part of an ICE URL.
func hostOf(r *http.Request) (host string, port uint16) {
	host, number, err := net.SplitHostPort(r.Host)
	if err != nil { // no port
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

// counts returns where to count outcomes, or nil with --outcomes=false.
func (c *iceFlags) counts() *outcome.Counts {
	if !c.Outcomes {
		return nil
	}
	return new(outcome.Counts)
}

// summaryInterval is the time between log lines that summarize calls.
const summaryInterval = time.Hour

// summarize logs a summary of reported calls every summaryInterval until ctx ends, if
// there were any. It returns immediately if counts is nil.
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
