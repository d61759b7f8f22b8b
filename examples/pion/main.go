// Command pion answers WebRTC calls and echoes whatever comes over their data
// channels. Browsers call it with the SDK, or with examples/plain.
//
//	go run .     (in this directory: it is a module of its own)
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pion/webrtc/v4"

	"inbox/client"
)

func main() {
	server := flag.String("server", "http://localhost:3000/inbox", "the server's inboxes")
	id := flag.String("id", "pion", "the id to call; its password is $INBOX_PASSWORD, or a random one")
	stun := flag.String("stun", "", "a STUN server, as in stun:stun.example.com, beside those that the inbox server names")
	outcomes := flag.Bool("outcomes", false, "report to the server how calls went: only for callers without the SDK, which reports itself")
	flag.Parse()
	password := os.Getenv("INBOX_PASSWORD")
	if password == "" {
		password = rand.Text()
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	inbox, err := client.New(client.Config{URL: *server, ID: *id, Password: password})
	if err != nil {
		log.Error("cannot begin", "error", err)
		os.Exit(2)
	}
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true) // for calls on one machine without a network
	a := &answerer{inbox: inbox, api: webrtc.NewAPI(webrtc.WithSettingEngine(settings)), outcomes: *outcomes, log: log}
	if *stun != "" {
		a.stun = []webrtc.ICEServer{{URLs: []string{*stun}}}
	}
	log.Info("waiting for calls")
	err = a.run(ctx)
	farewell, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	if err := inbox.Close(farewell); err != nil {
		log.Warn("the inbox is not closed, and will expire", "error", err)
	}
	if ctx.Err() == nil {
		log.Error("no calls can come any more", "error", err)
		os.Exit(1)
	}
}
