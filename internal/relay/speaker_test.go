package relay

import (
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"inbox/internal/turncred"
)

// A speaker sends requests that client libraries do not.
type speaker struct {
	testing.TB
	conn     net.Conn
	username string
	password string
	realm    string
	nonce    string
}

func (s *service) speaker(conn net.Conn, c turncred.Credentials) *speaker {
	s.Cleanup(func() { conn.Close() })
	return &speaker{TB: s.TB, conn: conn, username: c.Username, password: c.Password, realm: turncred.Realm}
}

// speak returns a speaker for an inbox over a transport.
func (s *service) speak(transport, id string) *speaker {
	s.Helper()
	address := s.udp
	if transport == "tcp" {
		address = s.tcp
	}
	conn, err := net.Dial(transport, address)
	if err != nil {
		s.Fatal(err)
	}
	return s.speaker(conn, s.keys.Mint(id, time.Now()))
}

type setter func(*stun.Message) error

func (f setter) AddTo(m *stun.Message) error { return f(m) }

func raw(t stun.AttrType, value ...byte) stun.Setter {
	return setter(func(m *stun.Message) error { m.Add(t, value); return nil })
}

func peer(ip net.IP, port int) stun.Setter {
	return setter(func(m *stun.Message) error {
		return stun.XORMappedAddress{IP: ip, Port: port}.AddToAs(m, stun.AttrXORPeerAddress)
	})
}

func channel(n uint16) stun.Setter {
	return raw(stun.AttrChannelNumber, byte(n>>8), byte(n), 0, 0)
}

var (
	udp  = raw(stun.AttrRequestedTransport, 17, 0, 0, 0)
	ipv6 = raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)
)

// ask sends a request with credentials. It returns the error code of the response, 0 for
// success, or -1 if there is no response.
func (p *speaker) ask(method stun.Method, attributes ...stun.Setter) (int, *stun.Message) {
	p.Helper()
	for {
		setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)
		if p.nonce != "" {
			setters = append(setters, stun.NewUsername(p.username), stun.NewRealm(p.realm), stun.NewNonce(p.nonce),
				stun.MessageIntegrity(turn.GenerateAuthKey(p.username, p.realm, p.password)))
		}
		request, err := stun.Build(setters...)
		if err != nil {
			p.Fatal(err)
		}
		answer := p.exchange(request)
		if answer == nil {
			return -1, nil
		}
		var code stun.ErrorCodeAttribute
		if code.GetFrom(answer) != nil {
			return 0, answer
		}
		if p.nonce != "" {
			return int(code.Code), answer
		}
		var nonce stun.Nonce
		if nonce.GetFrom(answer) != nil {
			return int(code.Code), answer
		}
		p.nonce = nonce.String()
	}
}

// exchange sends a request and returns its response, or nil.
func (p *speaker) exchange(request *stun.Message) *stun.Message {
	if _, err := p.conn.Write(request.Raw); err != nil {
		return nil
	}
	buf := make([]byte, 1600)
	for {
		p.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := p.conn.Read(buf)
		if err != nil {
			return nil
		}
		answer := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
		if answer.Decode() == nil && answer.TransactionID == request.TransactionID {
			return answer
		}
	}
}

// allocate creates an allocation and returns its port.
func (p *speaker) allocate() int {
	p.Helper()
	code, answer := p.ask(stun.MethodAllocate, udp)
	if code != 0 {
		p.Fatalf("cannot allocate: %d", code)
	}
	return relayedAddress(p.TB, answer).Port
}

func relayedAddress(tb testing.TB, m *stun.Message) stun.XORMappedAddress {
	tb.Helper()
	var a stun.XORMappedAddress
	if err := a.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		tb.Fatal(err)
	}
	return a
}
