package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// bareFanCommand is the baseline for publications: every client gets every frame. With
// Redis, a frame travels over a channel there, and reaches the clients of all such
// processes. The command reads neither frames nor publications.
type bareFanCommand struct {
	Redis string `help:"Address of Redis."`
}

func (c *bareFanCommand) Run() error {
	var f bareFan
	if c.Redis != "" {
		if err := f.share(c.Redis); err != nil {
			return err
		}
	}
	return serveBare(f.serve)
}

type bareFan struct {
	mu      sync.Mutex // guards the fields below
	redis   net.Conn   // or nil
	clients []net.Conn
}

// share publishes and subscribes in Redis.
func (f *bareFan) share(redis string) (err error) {
	if f.redis, err = net.Dial("tcp", redis); err != nil {
		return err
	}
	go io.Copy(io.Discard, f.redis)
	in, err := net.Dial("tcp", redis)
	if err != nil {
		return err
	}
	go f.receive(bufio.NewReader(in))
	_, err = io.WriteString(in, "*2\r\n$10\r\nSSUBSCRIBE\r\n$4\r\nroom\r\n")
	return err
}

// serve passes on the frames of a client.
func (f *bareFan) serve(c net.Conn) error {
	defer c.Close()
	if _, err := (ws.Upgrader{}).Upgrade(c); err != nil {
		return err
	}
	f.mu.Lock()
	f.clients = append(f.clients, c)
	f.mu.Unlock()
	in := bufio.NewReaderSize(c, 4096)
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return err
		}
		if h.Length > 1<<20 {
			return errors.New("too large")
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		ws.Cipher(payload, h.Mask, 0)
		if err := f.publish(payload); err != nil {
			return err
		}
	}
}

func (f *bareFan) publish(payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.redis == nil {
		f.deliverLocked(payload)
		return nil
	}
	_, err := fmt.Fprintf(f.redis, "*3\r\n$8\r\nSPUBLISH\r\n$4\r\nroom\r\n$%d\r\n%s\r\n", len(payload), payload)
	return err
}

func (f *bareFan) deliverLocked(payload []byte) {
	frame := append(appendHeader(nil, ws.Header{OpCode: ws.OpText, Length: int64(len(payload))}), payload...)
	for _, c := range f.clients {
		c.Write(frame)
	}
}

// receive delivers the publications from Redis. Before the payload of each there are six
// lines, of which the last is its length. The answer to the subscription has six lines too.
func (f *bareFan) receive(in *bufio.Reader) error {
	for {
		var last string
		for range 6 {
			var err error
			if last, err = in.ReadString('\n'); err != nil {
				return err
			}
		}
		length, isMessage := strings.CutPrefix(last, "$")
		if !isMessage {
			continue
		}
		size, err := strconv.Atoi(strings.TrimSpace(length))
		if err != nil {
			return err
		}
		payload := make([]byte, size+len(crlf))
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		f.mu.Lock()
		f.deliverLocked(payload[:size])
		f.mu.Unlock()
	}
}
