package relay

import (
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"inbox/internal/turncred"
)

const (
	allocateRequest = 0x0003
	familyIPv6      = 0x02
)

// anyFamily rewrites a request for an IPv6 address, if the mode has none, into a request
// without a family. It returns the new length. RFC 8656 requires error 440 instead, but
// then a client with only IPv6 could not connect to one with only IPv4, since candidates
// are only paired within a family. Browsers do not request a family. pion does over IPv6,
// and accepts the address that it gets.
func (s *Server) anyFamily(b []byte, n int) int {
	if n < stunHeader || b[0] != allocateRequest>>8 || b[1] != allocateRequest&0xFF || s.relays.hasIPv6() {
		return n
	}
	m := &stun.Message{Raw: append([]byte(nil), b[:n]...)}
	if m.Decode() != nil {
		return n
	}
	family, err := m.Get(stun.AttrRequestedAddressFamily)
	if err != nil || len(family) != 4 || family[0] != familyIPv6 {
		return n
	}
	var name stun.Username
	if name.GetFrom(m) != nil {
		return n
	}
	claim, ok := s.keys.Verify(name.String())
	if !ok {
		return n
	}
	// Check the client's signature before signing again.
	key := stun.MessageIntegrity(turn.GenerateAuthKey(name.String(), turncred.Realm, claim.Password))
	if key.Check(m) != nil {
		return n
	}
	rewritten := &stun.Message{TransactionID: m.TransactionID, Type: m.Type}
	rewritten.WriteHeader()
	for _, a := range m.Attributes {
		switch a.Type {
		case stun.AttrRequestedAddressFamily, stun.AttrMessageIntegrity, stun.AttrFingerprint:
		default:
			rewritten.Add(a.Type, a.Value)
		}
	}
	if key.AddTo(rewritten) != nil || len(rewritten.Raw) > n {
		return n
	}
	return copy(b, rewritten.Raw)
}
