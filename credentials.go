package inbox

import "net/netip"

// Credentials are what a client presents to authenticate as a peer. The protocol that
// receives them validates their form; see [CheckID] and [CheckPassword].
type Credentials struct {
	ID       string
	Password string
	// Client is the address the credentials came from. The zero Addr exempts them from
	// the limit on wrong passwords.
	Client netip.Addr
}

// An Authenticator maps credentials to the Peer they identify. All protocols of a server
// share one. It does not decide whether that peer may use the inbox: the [Store] does,
// because it keeps the secret of the peer that opened the inbox.
//
// Authenticate must not retain the password, and must be safe for concurrent use.
//
// Errors: ErrUnauthorized.
type Authenticator interface {
	Authenticate(Credentials) (Peer, error)
}

// Authenticate implements [Authenticator] for passwords. It never fails: every password
// yields a valid Peer, and the store rejects the wrong ones.
func (p *Pepper) Authenticate(c Credentials) (Peer, error) {
	peer := Peer{ID: c.ID, Secret: p.Secret(c.ID, c.Password)}
	if c.Client.IsValid() {
		client := network(c.Client)
		peer.Client = &client
	}
	return peer, nil
}

// network returns the address under which a client is counted: an IPv4 address, or the
// first address of an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // never fails for IPv6
		a = p.Addr()
	}
	return a
}
