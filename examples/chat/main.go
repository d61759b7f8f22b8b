// Command chat lets two people write to each other through a server: each line is
// a message. It shows the Go client, without WebRTC.
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
	server := flag.String("server", "http://localhost:3000/inbox", "the server's inboxes")
	id := flag.String("id", "", "your id")
	to := flag.String("to", "", "whom to write to; the first who writes, if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := chat(ctx, *server, *id, *to, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// chat ends with its input, or with ctx.
func chat(ctx context.Context, server, id, to string, in io.Reader, out io.Writer) error {
	me, err := client.New(client.Config{
		URL:      server,
		ID:       id,
		Password: rand.Text(),      // the inbox is opened, used, and closed by this program alone
		Wait:     10 * time.Second, // the other may come a little later
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
				fmt.Fprintln(out, "(something may be missing here)")
			case err != nil:
				fmt.Fprintf(out, "(%v)\n", err)
			default:
				other.CompareAndSwap("", m.From)
				fmt.Fprintf(out, "%s: %s\n", m.From, m.Body)
			}
		}
		cancel(last) // there is no point in going on
	}()
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			whom := other.Load().(string)
			if whom == "" {
				fmt.Fprintln(out, "(nobody is here yet)")
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
	// ctx has ended, but an inbox that is not closed is only forgotten.
	farewell, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	err = me.Close(farewell)
	if cause := context.Cause(ctx); cause != context.Canceled {
		return cause
	}
	return err
}
