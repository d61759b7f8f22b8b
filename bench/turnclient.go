package main

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// turnClient is a minimal TURN client, so that the client is not the bottleneck.
type turnClient struct {
	net.Conn
	username, password, realm, nonce string

	relayed []byte // XOR-RELAYED-ADDRESS as received
}

const (
	methodAllocate    = 0x0003
	methodRefresh     = 0x0004
	methodChannelBind = 0x0009

	attrUsername  = 0x0006
	attrIntegrity = 0x0008
	attrError     = 0x0009
	attrChannel   = 0x000C
	attrLifetime  = 0x000D
	attrPeer      = 0x0012
	attrRealm     = 0x0014
	attrNonce     = 0x0015
	attrRelayed   = 0x0016
	attrTransport = 0x0019

	firstChannel = 0x4000
)

// appendAttr appends an attribute with its padding.
func appendAttr(m []byte, kind uint16, value []byte) []byte {
	m = binary.BigEndian.AppendUint16(m, kind)
	m = binary.BigEndian.AppendUint16(m, uint16(len(value)))
	m = append(m, value...)
	return append(m, make([]byte, (4-len(value)%4)%4)...)
}

// build returns a request, authenticated if there is a nonce.
func (c *turnClient) build(method uint16, attrs ...[]byte) []byte {
	m := binary.BigEndian.AppendUint16(nil, method)
	m = append(m, 0, 0, 0x21, 0x12, 0xA4, 0x42)
	m = append(m, make([]byte, 12)...)
	rand.Read(m[8:])
	for _, a := range attrs {
		m = append(m, a...)
	}
	if c.nonce != "" {
		m = appendAttr(m, attrUsername, []byte(c.username))
		m = appendAttr(m, attrRealm, []byte(c.realm))
		m = appendAttr(m, attrNonce, []byte(c.nonce))
		binary.BigEndian.PutUint16(m[2:], uint16(len(m)-20+24))
		key := md5.Sum([]byte(c.username + ":" + c.realm + ":" + c.password))
		mac := hmac.New(sha1.New, key[:])
		mac.Write(m)
		m = appendAttr(m, attrIntegrity, mac.Sum(nil))
	}
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-20))
	return m
}

// request sends a request, and again with the nonce of the response.
func (c *turnClient) request(method uint16, attrs ...[]byte) (map[uint16][]byte, error) {
	for {
		answer, failed, err := c.exchange(c.build(method, attrs...))
		if err != nil || !failed {
			return answer, err
		}
		if len(answer[attrError]) < 4 || c.nonce == string(answer[attrNonce]) || len(answer[attrNonce]) == 0 {
			return nil, fmt.Errorf("method %d was refused: %x", method, answer[attrError])
		}
		c.nonce = string(answer[attrNonce])
	}
}

// leave ends the allocation and closes the connection.
func (c *turnClient) leave() {
	c.Write(c.build(methodRefresh, appendAttr(nil, attrLifetime, make([]byte, 4))))
	c.Close()
}

// exchange sends a request, with retries, and returns the attributes of the response.
func (c *turnClient) exchange(m []byte) (attrs map[uint16][]byte, failed bool, err error) {
	buf := make([]byte, 2048)
	for range 10 {
		if _, err = c.Write(m); err != nil {
			return nil, false, err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		for {
			var n int
			if n, err = c.Read(buf); err != nil {
				break
			}
			if n < 20 || string(buf[8:20]) != string(m[8:20]) {
				continue
			}
			attrs = make(map[uint16][]byte)
			for rest := buf[20:n]; len(rest) >= 4; {
				kind, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
				if 4+length > len(rest) {
					return nil, false, io.ErrUnexpectedEOF
				}
				attrs[kind] = append([]byte(nil), rest[4:4+length]...)
				rest = rest[min(len(rest), 4+(length+3)/4*4):]
			}
			return attrs, buf[0] == 1 && buf[1]&0x10 != 0, nil
		}
	}
	return nil, false, err
}

func (c *turnClient) allocate() error {
	answer, err := c.request(methodAllocate, appendAttr(nil, attrTransport, []byte{17, 0, 0, 0}))
	if err != nil {
		return err
	}
	if c.relayed = answer[attrRelayed]; len(c.relayed) != 8 {
		return errors.New("the relay provides no address")
	}
	return nil
}

// bind binds the channel to a peer.
func (c *turnClient) bind(peer []byte) error {
	_, err := c.request(methodChannelBind, appendAttr(nil, attrChannel, []byte{firstChannel >> 8, 0, 0, 0}), appendAttr(nil, attrPeer, peer))
	return err
}

// channelData returns a packet for the channel.
func channelData(size int) []byte {
	m := binary.BigEndian.AppendUint16(nil, firstChannel)
	m = binary.BigEndian.AppendUint16(m, uint16(size))
	return append(m, make([]byte, (size+3)/4*4)...)
}

// exchange sends packets in both directions until they arrive. The first packet of each
// client permits those of the other.
func (p *turnPair) exchange() error {
	packet, buf := channelData(120), make([]byte, 2048)
	for range 50 {
		arrived := 0
		for k, c := range p.clients {
			if _, err := c.Write(packet); err != nil {
				return err
			}
			other := p.clients[1-k]
			other.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, err := other.Read(buf); err == nil && n >= len(packet) {
				arrived++
			}
		}
		if arrived == len(p.clients) {
			return nil
		}
	}
	return errors.New("no packets arrive")
}
