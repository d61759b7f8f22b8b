package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"inbox/internal/redislink"
)

// What is compared with the flags' defaults to see whether they were set.
const (
	defaultPrefix     = "inbox:"
	defaultMaxInboxes = 1_000_000
	defaultMaxMemory  = 1 << 30
)

const (
	// leastMemory is room for two inboxes, in bytes.
	leastMemory = 8 << 10
	// leastInFlight is room for one frame of PeerJS and its copy, in bytes. Eight bodies
	// are room for one frame of our own protocol and an answer.
	leastInFlight = 512 << 10
)

// checkLimits refuses limits that no inbox or no message could keep.
func (c *serveCommand) checkLimits() error {
	for _, limit := range []struct {
		flag  string
		value int64
	}{
		{"inbox-capacity", int64(c.InboxCapacity)}, {"inbox-bytes", int64(c.InboxBytes)}, {"max-body", int64(c.MaxBody)},
		{"max-inboxes", int64(c.MaxInboxes)}, {"max-memory", int64(c.MaxMemory)},
	} {
		if limit.value < 1 {
			return fmt.Errorf("--%s: a limit is at least 1, not %d", limit.flag, limit.value)
		}
	}
	switch {
	case c.MaxBody > c.InboxBytes:
		return errors.New("--max-body is more than --inbox-bytes: such a message would fit into no inbox")
	case c.MaxBody > 1<<30:
		return errors.New("--max-body is at most 1GiB")
	case c.Store == inMemory && c.MaxMemory < c.MaxBody+c.MaxBody/4+leastMemory:
		return fmt.Errorf("--max-memory %v is too little for --max-body %v: such a message would not fit beside its inbox", c.MaxMemory, c.MaxBody)
	case c.MaxSlow < 0:
		return errors.New("--max-slow is not negative")
	case c.PeerJSHeld < 0:
		return errors.New("--peerjs-held is not negative")
	case c.Store == inMemory && c.PeerJSHeld > c.MaxMemory/2:
		return fmt.Errorf("--peerjs-held %v is more than half of --max-memory %v, which it is a part of", c.PeerJSHeld, c.MaxMemory)
	case c.MaxInFlight != 0 && c.MaxInFlight < leastInFlight+8*c.MaxBody:
		return fmt.Errorf("--max-in-flight %v is too little for --max-body %v: want at least %v, or 0 for an eighth of the memory",
			c.MaxInFlight, c.MaxBody, leastInFlight+8*c.MaxBody)
	}
	return nil
}

// checkRedis refuses settings of Redis that contradict each other or the store.
func (c *serveCommand) checkRedis() error {
	if c.Store == inMemory {
		if c.pepperFile() != "" || c.RedisWaitReplicas != 0 || c.RedisPrefix != defaultPrefix || c.RedisPasswordFile != "" {
			return errors.New("--pepper-file, --redis-prefix, --redis-password-file and --redis-wait-replicas go with --store redis")
		}
		return nil
	}
	option, err := redislink.ParseURL(c.Store)
	switch {
	case err != nil:
		return fmt.Errorf("--store is memory or the URL of redis: %w", err)
	case c.Snapshot != "":
		return errors.New("--snapshot goes with --store memory: inboxes in redis outlive a server anyway")
	case c.PepperFile != "" && c.SecretFile != "" && c.PepperFile != c.SecretFile:
		return errors.New("--secret-file is the former name of --pepper-file, and names another file: leave it out")
	case c.pepperFile() == "":
		return errors.New("--store with redis needs --pepper-file, the same for all servers (try: openssl rand -hex 32 > pepper)")
	case option.Password != "" && (c.RedisPasswordFile != "" || os.Getenv(redisPassword) != ""):
		return errors.New("--store holds a password: leave it out, or leave out --redis-password-file and INBOX_REDIS_PASSWORD")
	case c.RedisPasswordFile != "" && os.Getenv(redisPassword) != "":
		return errors.New("--redis-password-file and INBOX_REDIS_PASSWORD do not go together")
	}
	return nil
}

// pepperFile is the file that --pepper-file names, or --secret-file, as it was called.
func (c *serveCommand) pepperFile() string { return cmp.Or(c.PepperFile, c.SecretFile) }

// warn logs settings that work, but not as somebody may expect.
func (c *serveCommand) warn(log *slog.Logger) {
	c.warnICE(log)
	c.warnProxies(log)
	if c.SecretFile != "" {
		log.Warn("--secret-file and INBOX_SECRET_FILE are former names: use --pepper-file or INBOX_PEPPER_FILE")
	}
	if c.InboxTTL <= c.MaxWait {
		log.Warn("--inbox-ttl is not above --max-wait: the inbox of a peer whose poll gets lost expires before the peer asks again",
			"inbox-ttl", c.InboxTTL, "max-wait", c.MaxWait)
	}
	switch {
	case c.Store != inMemory && (c.MaxInboxes != defaultMaxInboxes || c.MaxMemory != defaultMaxMemory):
		log.Warn("--max-inboxes and --max-memory are for --store memory: redis has its own maxmemory")
	case c.Store == inMemory && c.InboxBytes > c.MaxMemory:
		log.Warn("--inbox-bytes is more than --max-memory: a single inbox can fill the server",
			"inbox-bytes", c.InboxBytes, "max-memory", c.MaxMemory)
	}
	if memory := size(available()); c.MaxInFlight > memory {
		log.Warn("--max-in-flight is more than the memory that this program may use", "max-in-flight", c.MaxInFlight, "memory", memory)
	}
	if !c.PeerJS && (c.PeerJSDiscovery || c.PeerJSKey != "peerjs") {
		log.Warn("--peerjs-key and --peerjs-discovery have no effect with --peerjs=false")
	}
	if c.Store == inMemory && os.Getenv(redisPassword) != "" {
		log.Warn("INBOX_REDIS_PASSWORD is set, and goes with --store redis")
	}
	if most := debug.SetMemoryLimit(-1); c.Store == inMemory && most != math.MaxInt64 && int64(c.MaxMemory) > most {
		log.Warn("--max-memory is more than GOMEMLIMIT: the program would spend its time collecting garbage",
			"max-memory", c.MaxMemory, "GOMEMLIMIT", size(most))
	}
}

// Passwords that come from the environment and never from a flag, where others on the
// machine could see them.
const (
	peerPassword  = "INBOX_PASSWORD"
	redisPassword = "INBOX_REDIS_PASSWORD"
)

// ofKubernetes matches what Kubernetes sets in every pod beside a service that is
// called inbox or inbox-something.
var ofKubernetes = regexp.MustCompile(`^INBOX_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|^INBOX_([A-Z0-9_]+_)?PORT=[a-z]+://`)

// unknownVariables returns the variables of the environment that look like settings of
// this program but are none, and which setting may be meant.
// It never quotes a value.
func unknownVariables(environ []string) (all []string) {
	parser, err := kong.New(new(cli), kong.DefaultEnvars("INBOX"))
	if err != nil {
		panic(err) // the struct is wrong
	}
	known := []string{peerPassword, redisPassword}
	for _, command := range parser.Model.Children {
		for _, flag := range command.Flags {
			known = append(known, flag.Envs...)
		}
	}
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		ending, ours := strings.CutPrefix(name, "INBOX_")
		if !ours || slices.Contains(known, name) || ofKubernetes.MatchString(variable) {
			continue
		}
		i := slices.IndexFunc(known, func(k string) bool { return ending != "" && strings.HasSuffix(k, "_"+ending) })
		if i >= 0 {
			name += " (" + known[i] + " is)"
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// negative matches a value that kong takes for a short flag.
var negative = regexp.MustCompile(`^-\d`)

// joinNegatives makes --flag=-1 of --flag -1, so that the mistake is found in the value.
func joinNegatives(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(joined, args[i:]...)
		}
		if strings.HasPrefix(args[i], "--") && !strings.Contains(args[i], "=") && i+1 < len(args) && negative.MatchString(args[i+1]) {
			joined = append(joined, args[i]+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}

// level is a slog.Level whose error lists the levels.
type level struct{ slog.Level }

func (l *level) UnmarshalText(text []byte) error {
	if err := l.Level.UnmarshalText(text); err != nil {
		return errors.New("a level is debug, info, warn or error")
	}
	return nil
}
