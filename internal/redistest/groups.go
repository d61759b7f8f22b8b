package redistest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"inbox/internal/inboxtest"
)

// A Sentinel is a primary with replicas, and the sentinels that watch them.
type Sentinel struct {
	Servers   []*Server // the first one is the initial primary
	Sentinels []*Server
	tb        testing.TB
}

// MasterSet is the name of the servers in the sentinels' configuration.
const MasterSet = "inboxes"

// StartSentinel starts three servers and three sentinels. args are name-value pairs, as
// for [Start]. No replica takes over until [Sentinel.Kill] or [Sentinel.Pause]: otherwise
// a primary that a busy machine delays could be replaced, and its latest writes lost.
func StartSentinel(tb testing.TB, args ...string) *Sentinel {
	tb.Helper()
	g := &Sentinel{tb: tb}
	primary := Start(tb, args...)
	g.Servers = append(g.Servers, primary)
	for range 2 {
		replica := Start(tb, append(args, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port), "--repl-diskless-sync-delay", "0")...)
		g.Servers = append(g.Servers, replica)
	}
	for _, s := range g.Servers[1:] {
		inboxtest.Until(tb, "the replica is in step", func() bool { return strings.Contains(s.Text("INFO", "replication"), "master_link_status:up") })
	}
	for range 3 {
		var own []string
		for i := 0; i+1 < len(args); i += 2 {
			if strings.HasPrefix(args[i], "--tls-") {
				own = append(own, args[i], args[i+1])
			}
		}
		s := newServer(tb, own...)
		conf := filepath.Join(s.dir, "sentinel.conf")
		text := "sentinel monitor " + MasterSet + " 127.0.0.1 " + strconv.Itoa(primary.Port) + " 2\n" +
			"sentinel down-after-milliseconds " + MasterSet + " 600000\n" +
			"sentinel failover-timeout " + MasterSet + " 5000\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		s.launch(conf, "--sentinel")
		g.Sentinels = append(g.Sentinels, s)
	}
	for _, s := range g.Sentinels {
		inboxtest.Until(tb, "the sentinels know each other", func() bool {
			text := s.info("SENTINEL", "MASTER", MasterSet)
			return text["num-other-sentinels"] == "2" && text["num-slaves"] == "2"
		})
	}
	return g
}

// Kill kills the primary. The sentinels detect this after a second.
func (g *Sentinel) Kill() { g.failing().Kill() }

// Pause stops the primary, waits until the sentinels have replaced it, and returns it.
func (g *Sentinel) Pause() (before *Server) {
	g.tb.Helper()
	before = g.failing()
	before.Pause()
	inboxtest.Until(g.tb, "another one is the primary", func() bool { return g.Primary() != before })
	return before
}

// failing returns the primary, after enabling the sentinels to detect its failure.
func (g *Sentinel) failing() *Server {
	g.tb.Helper()
	primary := g.Primary()
	for _, s := range g.Sentinels {
		s.Must("SENTINEL", "SET", MasterSet, "down-after-milliseconds", "1000")
	}
	return primary
}

// info runs a command and returns its reply of names and values.
func (s *Server) info(args ...string) map[string]string {
	m, err := s.Do(args...)
	if err != nil {
		return nil
	}
	info, _ := m.AsStrMap()
	return info
}

// URL returns the URL of the sentinels.
func (g *Sentinel) URL() string {
	return g.Sentinels[0].scheme() + addrs(g.Sentinels) + "/?master_set=" + MasterSet
}

// Primary returns the primary according to the sentinels.
func (g *Sentinel) Primary() *Server {
	g.tb.Helper()
	var primary *Server
	inboxtest.Until(g.tb, "there is a primary", func() bool {
		for _, s := range g.Sentinels {
			m, err := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterSet)
			if err != nil {
				continue
			}
			addr, _ := m.AsStrSlice()
			for _, server := range g.Servers {
				if len(addr) == 2 && addr[1] == strconv.Itoa(server.Port) {
					primary = server
				}
			}
		}
		return primary != nil
	})
	return primary
}

func addrs(servers []*Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr)
	}
	return strings.Join(all, ",")
}

// A Cluster is three primaries with one replica each.
type Cluster struct {
	Primaries []*Server
	Replicas  []*Server // in the order of Primaries
	tb        testing.TB
}

// StartCluster starts a cluster. No replica takes over until [Cluster.Kill] or
// [Cluster.Pause], for the same reason as in [StartSentinel].
func StartCluster(tb testing.TB, args ...string) *Cluster {
	tb.Helper()
	g := &Cluster{tb: tb}
	args = append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
		"--cluster-replica-validity-factor", "0", "--cluster-replica-no-failover", "yes", "--repl-diskless-sync-delay", "0"}, args...)
	var all []*Server
	for range 6 {
		all = append(all, Start(tb, args...))
	}
	g.Primaries, g.Replicas = all[:3], all[3:]
	const slots = 16384
	for i, s := range g.Primaries {
		s.Must("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/3), strconv.Itoa((i+1)*slots/3-1))
		s.Must("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, s := range all {
		inboxtest.Until(tb, "the nodes know each other", func() bool {
			// On a busy machine a node may abandon a handshake and forget the other node,
			// so repeat it. A handshake in progress must not be restarted, or it would
			// never complete.
			nodes := all[0].Text("CLUSTER", "NODES")
			for _, other := range all[1:] {
				if !strings.Contains(nodes, other.Addr+"@") {
					all[0].Must("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.Port))
				}
			}
			return connectedNodes(s.Text("CLUSTER", "NODES")) == len(all)
		})
	}
	for i, s := range g.Replicas {
		id := g.Primaries[i].Text("CLUSTER", "MYID")
		inboxtest.Until(tb, "the replica follows", func() bool {
			_, err := s.Do("CLUSTER", "REPLICATE", id)
			return err == nil
		})
	}
	for _, s := range all {
		inboxtest.Until(tb, "the cluster is up", func() bool { return strings.Contains(s.Text("CLUSTER", "INFO"), "cluster_state:ok") })
	}
	for _, s := range g.Replicas {
		inboxtest.Until(tb, "the replica is in step", func() bool { return strings.Contains(s.Text("INFO", "replication"), "master_link_status:up") })
	}
	for _, s := range all {
		s.Must("CONFIG", "SET", "cluster-node-timeout", "600000")
	}
	return g
}

// Kill kills one of the initial primaries and waits until its replica has taken over.
func (g *Cluster) Kill(primary int) {
	g.tb.Helper()
	g.replace(primary, g.Primaries[primary].Kill)
}

// Pause stops one of the initial primaries and waits until its replica has taken over.
func (g *Cluster) Pause(primary int) {
	g.tb.Helper()
	g.replace(primary, g.Primaries[primary].Pause)
}

func (g *Cluster) replace(primary int, fail func()) {
	g.tb.Helper()
	for _, s := range g.All() {
		s.Must("CONFIG", "SET", "cluster-node-timeout", "1000")
	}
	replica := g.Replicas[primary]
	replica.Must("CONFIG", "SET", "cluster-replica-no-failover", "no")
	fail()
	inboxtest.Until(g.tb, "the replica has taken over", func() bool {
		return strings.Contains(replica.Text("INFO", "replication"), "role:master")
	})
}

// URL returns the URL of the cluster.
func (g *Cluster) URL() string { return g.Primaries[0].scheme() + addrs(g.Primaries) }

// All returns the initial primaries, followed by their replicas.
func (g *Cluster) All() []*Server {
	return append(append([]*Server(nil), g.Primaries...), g.Replicas...)
}

// Move migrates a slot with its keys to another primary, as an operator would.
func (g *Cluster) Move(slot int) {
	g.tb.Helper()
	n := strconv.Itoa(slot)
	var from, to *Server
	for _, s := range g.Primaries {
		if owner, err := s.owner(slot); err == nil && owner == s.Text("CLUSTER", "MYID") {
			from = s
		}
	}
	if from == nil {
		g.tb.Fatalf("no primary owns the slot %d", slot)
	}
	for _, s := range g.Primaries {
		if s != from {
			to = s
		}
	}
	fromID, toID := from.Text("CLUSTER", "MYID"), to.Text("CLUSTER", "MYID")
	to.Must("CLUSTER", "SETSLOT", n, "IMPORTING", fromID)
	from.Must("CLUSTER", "SETSLOT", n, "MIGRATING", toID)
	for {
		m := from.Must("CLUSTER", "GETKEYSINSLOT", n, "100")
		keys, err := m.AsStrSlice()
		if err != nil {
			g.tb.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		from.Must(append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), "", "0", "5000", "REPLACE", "KEYS"}, keys...)...)
	}
	for _, s := range []*Server{to, from} {
		s.Must("CLUSTER", "SETSLOT", n, "NODE", toID)
	}
}

// owner returns the id of the node that owns a slot, as far as this node knows.
func (s *Server) owner(slot int) (string, error) {
	m, err := s.Do("CLUSTER", "SLOTS")
	if err != nil {
		return "", err
	}
	ranges, err := m.ToArray()
	if err != nil {
		return "", err
	}
	for _, r := range ranges {
		parts, err := r.ToArray()
		if err != nil {
			return "", err
		}
		first, _ := parts[0].AsInt64()
		last, _ := parts[1].AsInt64()
		if int64(slot) < first || int64(slot) > last {
			continue
		}
		node, err := parts[2].ToArray()
		if err != nil {
			return "", err
		}
		return node[2].ToString()
	}
	return "", nil
}

// connectedNodes counts the nodes in the reply to CLUSTER NODES that have completed their
// handshake and have a link. The fields are id, address, flags, primary, ping, pong,
// epoch, link and slots.
func connectedNodes(text string) (n int) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 8 && f[7] == "connected" && !strings.Contains(f[2], "handshake") {
			n++
		}
	}
	return n
}
