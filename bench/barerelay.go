package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// bareRelayCommand is the baseline for WebSockets. Two clients with the same path are
// partners, and each gets the other's frames unchanged. It stores nothing, authenticates
// nobody and sends no responses.
type bareRelayCommand struct{}

func (c *bareRelayCommand) Run() error {
	r := &bareRelay{alone: map[string]*bareSocket{}}
	return serveBare(r.serve)
}

// listenBare listens on a free port of the loopback and prints the URL, as inbox does.
func listenBare() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Fprintf(os.Stderr, "url=http://%s/\n", ln.Addr())
	}
	return ln, err
}

// serveBare serves connections until an error.
func serveBare(serve func(net.Conn) error) error {
	ln, err := listenBare()
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(c)
	}
}

type bareRelay struct {
	mu    sync.Mutex             // guards alone and partners
	alone map[string]*bareSocket // by path: the first partner
}

type bareSocket struct {
	net.Conn
	partner *bareSocket
}

func (r *bareRelay) serve(c net.Conn) error {
	defer c.Close()
	path := ""
	upgrader := ws.Upgrader{
		Protocol:  func(p []byte) bool { return string(p) == "inbox.v1" },
		OnRequest: func(uri []byte) error { path = strings.Clone(string(uri)); return nil },
	}
	if _, err := upgrader.Upgrade(c); err != nil {
		return err
	}
	s := &bareSocket{Conn: c}
	r.mu.Lock()
	if first := r.alone[path]; first != nil {
		s.partner, first.partner = first, s
		delete(r.alone, path)
	} else {
		r.alone[path] = s
	}
	r.mu.Unlock()
	return r.pass(s)
}

// pass forwards frames, each with a single write.
func (r *bareRelay) pass(s *bareSocket) error {
	in := bufio.NewReaderSize(s, 4096)
	var partner *bareSocket
	var out, payload []byte
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return err
		}
		if h.Length > 1<<20 {
			return errors.New("too large")
		}
		if int64(cap(payload)) < h.Length {
			payload = make([]byte, h.Length)
		}
		payload = payload[:h.Length]
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode == ws.OpClose {
			return nil
		}
		if partner == nil {
			r.mu.Lock()
			partner = s.partner
			r.mu.Unlock()
			if partner == nil {
				return errors.New("a frame arrived before the partner")
			}
		}
		out = append(appendHeader(out[:0], h), payload...)
		if _, err := partner.Write(out); err != nil {
			return err
		}
	}
}

// appendHeader appends the header of an unmasked frame.
func appendHeader(b []byte, h ws.Header) []byte {
	b = append(b, 0x80|byte(h.OpCode))
	switch n := h.Length; {
	case n < 126:
		return append(b, byte(n))
	case n < 1<<16:
		return append(b, 126, byte(n>>8), byte(n))
	default:
		return append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}
