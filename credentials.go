package inbox

import "net/netip"

// Credentials are what a client presents to act as a peer. Their form is for the
// protocol to check: see [CheckID] and [CheckPassword].
type Credentials struct {
	ID       string
	Password string
	Client   netip.Addr // that they came from; the zero Addr if wrong ones are not counted
}

// An Authenticator turns credentials into the Peer that they stand for, for every
// protocol of a server. Whether that peer may have the inbox is for the [Store] to
// say, which keeps the secret of the first who opened it.
//
// Authenticate does not keep the password. It must be safe for concurrent use.
//
// Errors: ErrUnauthorized.
type Authenticator interface {
	Authenticate(Credentials) (Peer, error)
}

// Authenticate implements [Authenticator] for passwords: every password stands for
// some peer of that id. It does not fail.
func (p *Pepper) Authenticate(c Credentials) (Peer, error) {
	peer := Peer{ID: c.ID, Secret: p.Secret(c.ID, c.Password)}
	if c.Client.IsValid() {
		client := network(c.Client)
		peer.Client = &client
	}
	return peer, nil
}

// network returns the address that all of one client count as: an IPv4 address, or the
// first of a /64.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // without an error for IPv6
		a = p.Addr()
	}
	return a
}
