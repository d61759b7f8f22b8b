// Command pion answers WebRTC calls and echoes everything that arrives over their data
// channels. Browsers call it with the SDK or with examples/plain.
//
//	cd examples/pion && go run .     (a separate module)
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
	server := flag.String("server", "http://localhost:3000/inbox", "URL of the server's inboxes")
	id := flag.String("id", "pion", "id to call; its password is $INBOX_PASSWORD, or random")
	stun := flag.String("stun", "", "STUN server, as in stun:stun.example.com, in addition to the inbox server's")
	outcomes := flag.Bool("outcomes", false, "report to the server how calls went; callers with the SDK report this themselves")
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
		log.Error("cannot start", "error", err)
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
	closing, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	if err := inbox.Close(closing); err != nil {
		log.Warn("cannot close the inbox, which will expire", "error", err)
	}
	if ctx.Err() == nil {
		log.Error("cannot receive calls", "error", err)
		os.Exit(1)
	}
}
