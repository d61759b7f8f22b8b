package acme

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"golang.org/x/net/idna"
)

const (
	letsEncrypt        = certmagic.LetsEncryptProductionCA
	letsEncryptStaging = certmagic.LetsEncryptStagingCA
)

func isLetsEncrypt(directory string) bool {
	return directory == letsEncrypt || directory == letsEncryptStaging
}

// Directory returns the URL of an authority. s is letsencrypt, letsencrypt-staging, or an
// https URL.
func Directory(s string) (string, error) {
	switch s {
	case "letsencrypt":
		return letsEncrypt, nil
	case "letsencrypt-staging":
		return letsEncryptStaging, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", errors.New("want letsencrypt, letsencrypt-staging, or a URL that starts with https://")
	}
	return s, nil
}

// label matches one label of a host name (RFC 1123, 2.1).
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName returns a server's name as it appears in a certificate, with international
// names in ASCII. It returns an error if the authority cannot issue a certificate for it.
func CheckName(name, directory string) (string, error) {
	if strings.Contains(name, "*") {
		return "", fmt.Errorf("%s: wildcard certificates require DNS challenges, which this server does not support: list the names instead", name)
	}
	if address, err := netip.ParseAddr(name); err == nil {
		switch address = address.Unmap(); {
		case address.Zone() != "":
			return "", fmt.Errorf("%s: there are no certificates for an address with a zone", name)
		case isLetsEncrypt(directory) && !certmagic.SubjectQualifiesForPublicCert(address.String()):
			return "", fmt.Errorf("%s: Let's Encrypt only issues certificates for public addresses", name)
		}
		return address.String(), nil
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	ascii = strings.ToLower(ascii)
	if err != nil || len(ascii) > 253 || slices.ContainsFunc(strings.Split(ascii, "."), func(l string) bool { return !label.MatchString(l) }) {
		return "", fmt.Errorf("%q is not a host name, as in signal.example.com", name)
	}
	if isLetsEncrypt(directory) && (!strings.Contains(ascii, ".") || !certmagic.SubjectQualifiesForPublicCert(ascii)) {
		return "", fmt.Errorf("%s: Let's Encrypt only issues certificates for public names", name)
	}
	return ascii, nil
}
