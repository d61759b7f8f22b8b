package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// peer is a participant with an id as long as a UUID, which most applications will use.
type peer struct {
	id, password string
	auth         string // the Authorization header
}

func newPeer() peer {
	var b [26]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	s := hex.EncodeToString(b[:])
	p := peer{id: strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:32]}, "-"), password: s[32:]}
	p.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(p.id+":"+p.password))
	return p
}

// get returns a request for p's own messages. query starts with "?" or is empty.
func (p peer) get(query string, headers ...string) []byte {
	return request("GET", query, p, headers, nil)
}

// post returns a request that sends a message.
func (p peer) post(to string, body []byte) []byte {
	return request("POST", "?to="+to, p, nil, body)
}

// delete returns a request that closes p's inbox.
func (p peer) delete() []byte { return request("DELETE", "", p, nil, nil) }

func request(method, query string, p peer, headers []string, body []byte) []byte {
	b := fmt.Appendf(nil, "%s /inbox%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n", method, query, p.auth)
	for _, h := range headers {
		b = append(append(b, h...), "\r\n"...)
	}
	if method == "POST" {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(body)), 10), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}

const filler = "a=candidate:842163049 1 udp 1677729535 192.0.2.17 58317 typ srflx raddr 0.0.0.0 rport 0 generation 0 "

// text returns a message of n bytes that starts with a label. It is plain ASCII and needs
// no escaping in JSON.
func text(label string, n int) []byte {
	b := append(make([]byte, 0, max(n, len(label))), label...)
	for len(b) < n {
		b = append(b, filler[:min(len(filler), n-len(b))]...)
	}
	return b
}

// digits writes n into b as a decimal number, filling b with leading zeros.
func digits(b []byte, n int) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// number parses the output of digits. It returns -1 for anything else.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}
