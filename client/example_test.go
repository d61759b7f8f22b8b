package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"inbox"
	"inbox/client"
	"inbox/inboxhttp"
	"inbox/memstore"
)

// exampleServer starts an inbox server for an example.
func exampleServer() *httptest.Server {
	handler, err := inboxhttp.New(inboxhttp.Config{Store: memstore.New(inbox.Limits{}), Authenticator: inbox.NewPepper([inbox.PepperSize]byte{})})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/inbox", handler)
	mux.HandleFunc("/code", handler.ServeCode)
	return httptest.NewServer(mux)
}

// Two peers exchange messages.
func Example() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	alice, err := client.New(client.Config{URL: server.URL + "/inbox", ID: "alice", Password: "a secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close(ctx)
	bob, err := client.New(client.Config{
		URL: server.URL + "/inbox", ID: "bob", Password: "another",
		Wait: 10 * time.Second, // alice may start a little later
	})
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close(ctx)

	go func() {
		for m, err := range alice.All(ctx) {
			if err != nil {
				continue // All ends by itself after the last error
			}
			if err := alice.Send(ctx, m.From, append([]byte("you said: "), m.Body...)); err != nil {
				log.Print(err)
			}
		}
	}()
	if err := bob.Send(ctx, "alice", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	m, err := bob.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", m.From, m.Body)
	// Output:
	// alice: you said: hello
}

// Errors of package inbox identify why the server refused a message.
func ExampleClient_Send_errors() {
	server := exampleServer()
	defer server.Close()
	alice, err := client.New(client.Config{URL: server.URL + "/inbox", ID: "alice", Password: "a secret"})
	if err != nil {
		log.Fatal(err)
	}
	err = alice.Send(context.Background(), "nobody", []byte("hello"))
	fmt.Println(errors.Is(err, inbox.ErrNoInbox))
	// Output:
	// true
}

// A loop that handles each kind of error.
func ExampleClient_All() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()
	alice, err := client.New(client.Config{URL: server.URL + "/inbox", ID: "alice", Password: "a secret"})
	if err != nil {
		log.Fatal(err)
	}
	for _, body := range []string{"one", "two", "bye"} {
		if err := alice.Send(ctx, "alice", []byte(body)); err != nil { // to herself
			log.Fatal(err)
		}
	}
	for m, err := range alice.All(ctx) {
		switch {
		case errors.Is(err, client.ErrReset):
			log.Print("messages may have been missed")
			continue
		case err != nil:
			log.Print(err) // the server is unreachable, or the loop is about to end
			continue
		}
		fmt.Printf("%s\n", m.Body)
		if string(m.Body) == "bye" {
			break
		}
	}
	// The loop ended before an iteration that would have acknowledged the last message.
	if err := alice.Acknowledge(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// one
	// two
	// bye
}

// exampleClient returns a client of the server for an example.
func exampleClient(server *httptest.Server, id string) *client.Client {
	c, err := client.New(client.Config{URL: server.URL + "/inbox", ID: id, Password: "secret of " + id})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// A program meets others in a room.
func ExampleClient_Join() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	alice, bob := exampleClient(server, "alice"), exampleClient(server, "bob")
	defer alice.Close(ctx)
	defer bob.Close(ctx)

	name := client.RoomName("a secret that both know", "standup")
	if _, err := bob.Join(ctx, name); err != nil {
		log.Fatal(err)
	}
	room, err := alice.Join(ctx, name)
	if err != nil {
		log.Fatal(err)
	}
	for change, err := range room.Changes(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change.Peer, change.Joined)
		break
	}
	// Output: bob true
}

// Two people connect their programs by six letters that one of them reads out.
func ExampleClient_Redeem() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	alice, bob := exampleClient(server, "alice"), exampleClient(server, "bob")
	defer alice.Close(ctx)
	defer bob.Close(ctx)

	code, err := bob.Invite(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	invitation, err := alice.Redeem(ctx, code.String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(code.Text), invitation.Peer)
	// Output: 6 bob
}
