package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// roomsCommand fills rooms and checks that every later join is reported to every member, in
// order: at one server, and at two that share a Redis.
type roomsCommand struct {
	Rooms   int           `default:"1000" help:"Number of rooms."`
	Members int           `default:"6" help:"Members of each."`
	Within  time.Duration `default:"10s" help:"Spread the joins over this time; 0: as fast as possible."`
	AtOnce  int           `default:"64" help:"Concurrent joins."`
	Store   []string      `default:"memory,redis" enum:"memory,redis" help:"Where inboxes and rooms are kept."`
	Program string        `default:"redis-server" help:"Redis or Valkey executable."`
}

func (c *roomsCommand) Run(e *env) error {
	if err := e.apart(); err != nil {
		return err
	}
	for _, store := range c.Store {
		if err := c.run(e, store); err != nil {
			return fmt.Errorf("rooms, %s: %w", store, err)
		}
	}
	return nil
}

func (c *roomsCommand) run(e *env, store string) error {
	flags := []string{"--inbox-ttl=10m", "--limits=off"}
	var servers []*process
	if store == "redis" {
		two, err := startTwo(e, c.Program, flags...)
		if err != nil {
			return err
		}
		defer two.stop()
		servers = two.servers
	} else {
		p, err := e.serve(flags...)
		if err != nil {
			return err
		}
		defer p.stop()
		servers = []*process{p}
	}
	load := &roomsLoad{servers: servers, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c.AtOnce}}}
	defer load.http.CloseIdleConnections()
	peers := make([]roomPeer, c.Rooms*c.Members)
	for i := range peers {
		peers[i] = roomPeer{peer: newPeer(), room: fmt.Sprint("room ", i%c.Rooms)}
	}
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	e.say("rooms, %s: %s of %d", store, plural(c.Rooms, "room"), c.Members)
	used := func() time.Duration { return cpuOfAll(servers...) }
	before, begin := used(), time.Now()
	err := inParallel(c.AtOnce, len(peers), func(i int) error {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * c.Within / time.Duration(len(peers)))))
		return load.join(&peers[i])
	})
	if err != nil {
		return err
	}
	took, cpu := time.Since(begin), used()-before
	if err := inParallel(c.AtOnce, len(peers), func(i int) error { return load.events(&peers[i]) }); err != nil {
		return err
	}
	wrong := 0
	for i := range peers {
		if len(peers[i].known) != c.Members {
			wrong++
		}
	}
	group := "rooms: " + store
	note := fmt.Sprintf("%d joins in %.1f s", len(peers), took.Seconds())
	e.report.add(row{Group: group, What: "members that do not know all others", Measured: float64(wrong), Goal: new(0.0), Must: true, Note: note})
	e.report.add(row{Group: group, What: "rooms whose members saw different orders", Measured: float64(disordered(peers)), Goal: new(0.0), Must: true})
	e.report.add(row{Group: group, What: "server CPU per join", Measured: micros(cpu, len(peers)), Unit: "µs", Note: fmt.Sprintf("with %.1f events each", float64(c.Members-1)/2)})
	return nil
}

// roomPeer is a peer and what it knows of its room: the members that its join returned, and
// then those that events reported.
type roomPeer struct {
	peer
	room  string
	known []string
}

// disordered returns how many rooms have members that know them in different orders.
func disordered(peers []roomPeer) int {
	orders, wrong := make(map[string]string), make(map[string]bool)
	for i := range peers {
		p := &peers[i]
		order := fmt.Sprint(p.known)
		if first, ok := orders[p.room]; ok && first != order {
			wrong[p.room] = true
		}
		orders[p.room] = order
	}
	return len(wrong)
}

// roomsLoad sends requests to servers in turn.
type roomsLoad struct {
	servers []*process
	http    *http.Client
	turn    atomic.Int64
}

func (l *roomsLoad) join(p *roomPeer) error {
	var said struct{ Members []string }
	if err := l.do(http.MethodPut, "?room="+p.room[:4]+"%20"+p.room[5:], p.peer, &said); err != nil {
		return err
	}
	p.known = said.Members
	return nil
}

func (l *roomsLoad) events(p *roomPeer) error {
	var said struct {
		Messages []struct {
			Room struct{ Event, Peer string }
		}
	}
	if err := l.do(http.MethodGet, "?after=0&wait=0", p.peer, &said); err != nil {
		return err
	}
	for _, m := range said.Messages {
		if m.Room.Event != "joined" {
			return fmt.Errorf("an event of the kind %q", m.Room.Event)
		}
		p.known = append(p.known, m.Room.Peer)
	}
	return nil
}

// do sends a request and decodes a JSON response, unless it is empty.
func (l *roomsLoad) do(method, query string, p peer, to any) error {
	server := l.servers[int(l.turn.Add(1))%len(l.servers)]
	req, err := http.NewRequest(method, "http://"+server.addr+"/inbox"+query, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", p.auth)
	req.Header.Set("Accept", "application/json")
	res, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusNoContent:
		return nil
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s %s", method, res.Status, body)
	}
	return json.Unmarshal(body, to)
}
