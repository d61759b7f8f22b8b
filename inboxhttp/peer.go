package inboxhttp

import (
	"encoding/base64"
	"net/http"
	"strings"

	"inbox"
	"inbox/internal/clientaddr"
	"inbox/internal/problem"
)

// peer authenticates the request: Basic (RFC 7617) with UTF-8.
func (h *Handler) peer(r *http.Request) (inbox.Peer, error) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		return inbox.Peer{}, badCredentials("There is more than one Authorization header.")
	}
	if len(values) == 0 {
		return inbox.Peer{}, unauthorized("Basic credentials are required: an id and a password of your choice.")
	}
	scheme, encoded, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return inbox.Peer{}, unauthorized("The Authorization header does not use the Basic scheme.")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return inbox.Peer{}, unauthorized("The Authorization header is not valid base64.")
	}
	id, password, found := strings.Cut(string(decoded), ":")
	if !found {
		return inbox.Peer{}, unauthorized("The credentials have no colon between id and password.")
	}
	return h.authenticate(inbox.Credentials{ID: strings.Clone(id), Password: password, Client: clientaddr.Of(r.RemoteAddr)})
}

// authenticate validates credentials and returns the peer they stand for. The password is
// not kept.
func (h *Handler) authenticate(c inbox.Credentials) (inbox.Peer, error) {
	if err := inbox.CheckID(c.ID); err != nil {
		return inbox.Peer{}, badCredentials(sentence(err))
	}
	if err := inbox.CheckPassword(c.Password); err != nil {
		return inbox.Peer{}, badCredentials(sentence(err))
	}
	return h.Authenticator.Authenticate(c)
}

func badCredentials(detail string) error {
	return problem.BadCredentials.With(detail)
}

func unauthorized(detail string) error {
	return problem.Unauthorized.With(detail)
}

// sentence turns an error into a sentence for a problem's detail.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
