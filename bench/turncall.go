package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	frameEvery = time.Second / 30
	callRate   = 2_000_000 / 8 // bytes per second in each direction
	callPacket = 1188

	// maxFreeze bounds how long a picture may freeze, in milliseconds.
	maxFreeze = 200
)

// call lets two clients exchange video at 2 Mbit/s over TLS, in bursts of one frame, and
// measures the longest pause between two packets. A bare echo server on the same core
// reveals the pauses that the machine causes.
func (c *turnCommand) call(e *env) error {
	if c.Call == 0 {
		return nil
	}
	e.say("turn: a call of %v over TLS", c.Call)
	t, err := c.ours(e, "--tls=self-signed", "--turn-listen=127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	defer t.stop()
	echo, err := e.bare("bare-echo")
	if err != nil {
		return err
	}
	defer echo.stop()
	p, err := t.pair(e.ctx, 0)
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	defer p.close()
	if err := p.exchange(); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	var all sync.WaitGroup
	ended := make(chan struct{})
	var gaps [2][]span
	var arrived, sent [2]int
	var failed [3]error
	packet := channelData(callPacket)
	for k, client := range p.clients {
		all.Go(func() {
			tick := time.NewTicker(frameEvery)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
				}
				for range int(callRate*frameEvery.Seconds()) / callPacket {
					if _, err := client.Write(packet); err != nil {
						failed[k] = err
						return
					}
					sent[k]++
				}
			}
		})
		all.Go(func() {
			buf := make([]byte, len(packet))
			for last := time.Now(); ; {
				client.SetReadDeadline(time.Now().Add(2 * time.Second))
				if _, err := io.ReadFull(client, buf); err != nil {
					return // the end, or a gap that has been counted
				}
				now := time.Now()
				gaps[k] = append(gaps[k], span{last, now})
				last = now
				arrived[k]++
			}
		})
	}
	var machine []span
	all.Go(func() { machine, failed[2] = watchEcho(echo.addr, ended) })
	err = e.sleep(c.Call)
	close(ended)
	all.Wait()
	if err = errors.Join(err, t.alive(), failed[0], failed[1], failed[2]); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	paused := blame(append(gaps[0], gaps[1]...), machine)
	e.report.add(row{
		Group: turnGroup, What: "call of 2 × 2 Mbit/s over TLS, longest pause", Unit: "ms", Goal: new(float64(maxFreeze)),
		Measured: float64(paused.own) / 1e6,
		Note: fmt.Sprintf("%v; including the machine's pauses %.0f ms; of %d packets, %d were lost", c.Call, float64(paused.longest)/1e6,
			sent[0]+sent[1], sent[0]+sent[1]-arrived[0]-arrived[1]),
	})
	return nil
}

// watchEcho sends to an echo server frequently and returns when it had to wait.
func watchEcho(addr string, ended <-chan struct{}) (waits []span, err error) {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 1)
	for {
		due := time.Now()
		select {
		case <-ended:
			return waits, nil
		case <-tick.C:
		}
		// A late tick is a pause of this process's core.
		if late := time.Since(due); late > 4*time.Millisecond {
			waits = append(waits, span{due, time.Now()})
		}
		began := time.Now()
		conn.SetReadDeadline(began.Add(2 * time.Second))
		if _, err := conn.Write(buf); err != nil {
			return nil, err
		}
		if _, err := conn.Read(buf); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		if time.Since(began) > worthNoting {
			waits = append(waits, span{began, time.Now()})
		}
	}
}

// bareEchoCommand is an echo server over UDP.
type bareEchoCommand struct{}

func (bareEchoCommand) Run() error {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "url=http://%s/\n", conn.LocalAddr())
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		conn.WriteTo(buf[:n], from)
	}
}
