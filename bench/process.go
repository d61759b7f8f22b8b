package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server started to be measured.
type process struct {
	pid  int
	addr string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has exited
	tls  *tls.Config   // nil without TLS

	stopped func() // called by stop, if not nil

	mu         sync.Mutex     // guards the fields below
	tail       []string       // last lines of its output
	cause      string         // the line that reports a panic
	goroutines map[string]int // in its dump, by the function that started them
	raced      bool
}

// start runs a server on the given cores and waits until it prints its URL on standard
// error. The starting thread is moved back to ours.
func start(ctx context.Context, cores, ours []int, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, path, args...), done: make(chan struct{}), goroutines: map[string]int{}}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := pinned(cores, ours, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	p.pid = p.cmd.Process.Pid
	announced := make(chan string, 1)
	go func() {
		p.listen(stderr, announced)
		p.cmd.Wait()
		close(p.done)
	}()
	select {
	case url := <-announced:
		if strings.HasPrefix(url, "https:") {
			p.tls = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} // the certificate is created at start
		}
		if p.addr, err = hostOf(url); err != nil {
			p.stop()
			return nil, err
		}
		return p, nil
	case <-p.done:
		return nil, p.alive()
	case <-time.After(15 * time.Second):
		p.stop()
		return nil, errors.New("the server did not announce its URL")
	}
}

// dial does the same as dialSized, over TLS if the server uses it.
func (p *process) dial(ctx context.Context, i int, life time.Duration, buffer int) (*conn, error) {
	c, err := dialSized(ctx, p.addr, i, life, buffer)
	if err != nil || p.tls == nil {
		return c, err
	}
	secure := tls.Client(c.Conn, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.Conn = secure
	return c, nil
}

// listen reads standard error to its end.
func (p *process) listen(r io.Reader, announced chan<- string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		p.mu.Lock()
		if p.tail = append(p.tail, line); len(p.tail) > 5 {
			p.tail = p.tail[1:]
		}
		if p.cause == "" && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
			p.cause = line
		}
		// A dump has this line for each goroutine except the first. The runtime starts
		// goroutines too.
		if maker, ok := strings.CutPrefix(line, "created by "); ok && !strings.HasPrefix(maker, "runtime.") {
			maker, _, _ = strings.Cut(maker, " in goroutine")
			p.goroutines[maker]++
		}
		p.raced = p.raced || strings.Contains(line, "DATA RACE")
		p.mu.Unlock()
		if _, rest, ok := strings.Cut(line, "url="); ok {
			select {
			case announced <- strings.Trim(strings.Fields(rest)[0], `"`):
			default:
			}
		}
	}
	io.Copy(io.Discard, r)
}

// announced waits for a URL that the server prints after word, on any line.
func (p *process) announced(word string) (url string, err error) {
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		for _, line := range p.tail {
			if _, rest, ok := strings.Cut(line, " "+word); ok {
				url = strings.Trim(strings.Fields(rest)[0], `"`)
			}
		}
		p.mu.Unlock()
		if url != "" {
			return url, nil
		}
	}
	return "", errors.Join(errors.New("the server did not print "+word), p.alive())
}

// alive returns an error if the server has exited or reported a data race.
func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		said := p.cause
		if said == "" {
			said = strings.Join(p.tail, "\n  ")
		}
		return fmt.Errorf("the server exited. Its last output:\n  %s", said)
	default:
	}
	if p.raced {
		return fmt.Errorf("the server has a data race. Its last output:\n  %s", strings.Join(p.tail, "\n  "))
	}
	return nil
}

// stop kills the process, since its shutdown is not measured.
func (p *process) stop() {
	p.cmd.Process.Kill()
	<-p.done
	if p.stopped != nil {
		p.stopped()
		p.stopped = nil
	}
}

// dump makes the process exit with a dump of its goroutines. It returns their number by
// the function that started them.
func (p *process) dump() (map[string]int, error) {
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.goroutines) == 0 {
		return nil, errors.New("the server ended without a dump of its goroutines")
	}
	return p.goroutines, nil
}

// cpu returns the CPU time used so far.
func (p *process) cpu() (time.Duration, error) { return cpuOf(p.pid) }

// settle waits until the resident memory has changed by less than 1 % for quiet, or until
// limit has passed. It returns the resident memory.
func (e *env) settle(p *process, quiet, limit time.Duration) (int64, error) {
	const step = 250 * time.Millisecond
	var last []int64
	for end := time.Now().Add(limit); ; {
		n, err := rssOf(p.pid)
		if err != nil {
			return 0, err
		}
		if last = append(last, n); len(last) > int(quiet/step) {
			last = last[1:]
			lo, hi := last[0], last[0]
			for _, v := range last {
				lo, hi = min(lo, v), max(hi, v)
			}
			if hi-lo < hi/100 {
				return n, nil
			}
		}
		if time.Now().After(end) {
			return n, nil
		}
		if err := e.sleep(step); err != nil {
			return 0, err
		}
	}
}

// rest waits until the server uses less than 1 % of a core, so that no earlier request is
// still being processed.
func (e *env) rest(p *process, limit time.Duration) error {
	const step = 300 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); {
		before, err := p.cpu()
		if err != nil {
			return err
		}
		if err := e.sleep(step); err != nil {
			return err
		}
		after, err := p.cpu()
		if err != nil {
			return err
		}
		if after-before < step/100 {
			return nil
		}
	}
	return nil
}
