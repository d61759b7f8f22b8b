package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// gorillaRelayCommand is the baseline for WebSockets over TLS, built like most Go
// servers: net/http, crypto/tls and gorilla/websocket. Like the bare relay, it forwards
// messages between two partners.
type gorillaRelayCommand struct{}

func (c *gorillaRelayCommand) Run() error {
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "url=https://%s/\n", ln.Addr())
	r := &gorillaRelay{alone: map[string]*gorillaSocket{}}
	s := &http.Server{Handler: http.HandlerFunc(r.serve), TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	return s.ServeTLS(ln, "", "")
}

type gorillaRelay struct {
	mu    sync.Mutex                // guards alone and every partner
	alone map[string]*gorillaSocket // by path: the first partner
}

type gorillaSocket struct {
	*websocket.Conn
	partner *gorillaSocket
}

func (r *gorillaRelay) serve(w http.ResponseWriter, req *http.Request) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"inbox.v1"}, CheckOrigin: func(*http.Request) bool { return true }}
	c, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return
	}
	defer c.Close()
	s := &gorillaSocket{Conn: c}
	r.mu.Lock()
	if first := r.alone[req.URL.Path]; first != nil {
		s.partner, first.partner = first, s
		delete(r.alone, req.URL.Path)
	} else {
		r.alone[req.URL.Path] = s
	}
	r.mu.Unlock()
	var partner *gorillaSocket
	for {
		kind, message, err := s.ReadMessage()
		if err != nil {
			return
		}
		if partner == nil {
			r.mu.Lock()
			partner = s.partner
			r.mu.Unlock()
			if partner == nil {
				return // a frame arrived before the partner
			}
		}
		if partner.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// selfSigned creates a certificate for localhost.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
