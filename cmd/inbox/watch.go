package main

// watchFlags are what operators see of a running server.
type watchFlags struct {
	LogClients bool `name:"log-clients" group:"Watching" help:"Log the full addresses of clients: with refusals, and in debug lines. Without it, the log names networks (/24, /48) with refusals alone."`
}
