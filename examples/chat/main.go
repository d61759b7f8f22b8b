// Command chat lets two people chat through an inbox server, one message per line. It
// shows the Go client without WebRTC.
//
//	go run ./examples/chat -id alice
//	go run ./examples/chat -id bob -to alice
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"inbox/client"
)

func main() {
	server := flag.String("server", "http://localhost:3000/inbox", "URL of the server's inboxes")
	id := flag.String("id", "", "your id")
	to := flag.String("to", "", "id of the other person; by default, the first one to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := chat(ctx, *server, *id, *to, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// chat runs until in or ctx ends.
func chat(ctx context.Context, server, id, to string, in io.Reader, out io.Writer) error {
	me, err := client.New(client.Config{
		URL:      server,
		ID:       id,
		Password: rand.Text(),      // only this program uses the inbox
		Wait:     10 * time.Second, // the other person may start later
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var other atomic.Value
	other.Store(to)
	received := make(chan struct{})
	go func() {
		defer close(received)
		var last error
		for m, err := range me.All(ctx) {
			last = err
			switch {
			case ctx.Err() != nil:
			case errors.Is(err, client.ErrReset):
				fmt.Fprintln(out, "(messages may be missing here)")
			case err != nil:
				fmt.Fprintf(out, "(%v)\n", err)
			default:
				other.CompareAndSwap("", m.From)
				fmt.Fprintf(out, "%s: %s\n", m.From, m.Body)
			}
		}
		cancel(last) // receiving has ended, so stop sending too
	}()
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			whom := other.Load().(string)
			if whom == "" {
				fmt.Fprintln(out, "(nobody has written yet)")
				continue
			}
			if err := me.Send(ctx, whom, lines.Bytes()); err != nil {
				fmt.Fprintf(out, "(not sent: %v)\n", err)
			}
		}
		cancel(lines.Err())
	}()
	<-ctx.Done()
	<-received
	// Close the inbox even though ctx has ended. Otherwise it would live until it
	// expires.
	closing, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	err = me.Close(closing)
	if cause := context.Cause(ctx); cause != context.Canceled {
		return cause
	}
	return err
}
