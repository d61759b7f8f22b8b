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
	"time"

	"github.com/alecthomas/kong"

	"inbox/internal/redislink"
)

// Defaults of flags, for detecting whether they were set.
const (
	defaultPrefix     = "inbox:"
	defaultMaxInboxes = 1_000_000
	defaultMaxMemory  = 1 << 30
)

const (
	// minMemory is room for two inboxes, in bytes.
	minMemory = 8 << 10
	// minInFlight is room for one PeerJS frame and its copy, in bytes. Eight bodies are
	// room for one frame of the inbox protocol and a response.
	minInFlight = 512 << 10
)

// atLeast rejects a value of a flag that is below least.
func atLeast[T int | size | time.Duration](least T, flag string, value T) error {
	if value < least {
		return fmt.Errorf("%s: %v, want at least %v", flag, value, least)
	}
	return nil
}

// checkLimits rejects limits under which no inbox or message could exist.
func (c *serveCommand) checkLimits() error {
	if err := cmp.Or(
		atLeast(1, "--inbox-capacity", c.InboxCapacity),
		atLeast(1, "--inbox-bytes", c.InboxBytes),
		atLeast(1, "--max-body", c.MaxBody),
		atLeast(1, "--room-members", c.RoomMembers),
		atLeast(1, "--rooms-per-peer", c.RoomsPerPeer),
		atLeast(1, "--max-inboxes", c.MaxInboxes),
		atLeast(1, "--max-memory", c.MaxMemory),
		atLeast(0, "--max-slow", c.MaxSlow),
		atLeast(0, "--peerjs-held", c.PeerJSHeld),
	); err != nil {
		return err
	}
	switch {
	case c.MaxBody > c.InboxBytes:
		return errors.New("--max-body is more than --inbox-bytes: such a message would not fit into any inbox")
	case c.RoomMembers > 1000 || c.RoomsPerPeer > 1000:
		return errors.New("--room-members and --rooms-per-peer must be at most 1000: each join reaches every member")
	case c.MaxBody > 1<<30:
		return errors.New("--max-body must be at most 1GiB")
	case c.Store == inMemory && c.MaxMemory < c.MaxBody+c.MaxBody/4+minMemory:
		return fmt.Errorf("--max-memory %v is too small for --max-body %v: one such message and its inbox would not fit", c.MaxMemory, c.MaxBody)
	case c.Store == inMemory && c.PeerJSHeld > c.MaxMemory/2:
		return fmt.Errorf("--peerjs-held %v is more than half of --max-memory %v, which includes it", c.PeerJSHeld, c.MaxMemory)
	case c.MaxInFlight != 0 && c.MaxInFlight < minInFlight+8*c.MaxBody:
		return fmt.Errorf("--max-in-flight %v is too small for --max-body %v: want at least %v, or 0 for an eighth of the memory",
			c.MaxInFlight, c.MaxBody, minInFlight+8*c.MaxBody)
	}
	return nil
}

// checkRedis rejects Redis settings that contradict each other or the store.
func (c *serveCommand) checkRedis() error {
	if c.Store == inMemory {
		if c.pepperFile() != "" || c.RedisWaitReplicas != 0 || c.RedisPrefix != defaultPrefix || c.RedisPasswordFile != "" {
			return errors.New("--pepper-file, --redis-prefix, --redis-password-file and --redis-wait-replicas require --store redis://")
		}
		return nil
	}
	option, err := redislink.ParseURL(c.Store)
	switch {
	case err != nil:
		return fmt.Errorf("--store must be memory or the URL of Redis: %w", err)
	case c.Snapshot != "":
		return errors.New("--snapshot requires --store memory: inboxes in Redis survive a restart anyway")
	case c.PepperFile != "" && c.SecretFile != "" && c.PepperFile != c.SecretFile:
		return errors.New("--secret-file is the old name of --pepper-file and names another file: remove it")
	case c.pepperFile() == "":
		return errors.New("--store redis:// requires --pepper-file, the same for all servers (try: openssl rand -hex 32 > pepper)")
	case option.Password != "" && (c.RedisPasswordFile != "" || os.Getenv(redisPassword) != ""):
		return errors.New("--store contains a password: remove it, or remove --redis-password-file and INBOX_REDIS_PASSWORD")
	case c.RedisPasswordFile != "" && os.Getenv(redisPassword) != "":
		return errors.New("--redis-password-file and INBOX_REDIS_PASSWORD exclude each other")
	}
	return nil
}

// pepperFile returns the value of --pepper-file or of its old name, --secret-file.
func (c *serveCommand) pepperFile() string { return cmp.Or(c.PepperFile, c.SecretFile) }

// warn logs valid settings that have surprising effects.
func (c *serveCommand) warn(log *slog.Logger) {
	c.warnICE(log)
	c.warnProxies(log)
	if c.SecretFile != "" {
		log.Warn("--secret-file and INBOX_SECRET_FILE are old names: use --pepper-file or INBOX_PEPPER_FILE")
	}
	if c.InboxTTL <= c.MaxWait {
		log.Warn("--inbox-ttl is not above --max-wait: if a poll is lost, the inbox expires before the peer polls again",
			"inbox-ttl", c.InboxTTL, "max-wait", c.MaxWait)
	}
	switch {
	case c.Store != inMemory && (c.MaxInboxes != defaultMaxInboxes || c.MaxMemory != defaultMaxMemory):
		log.Warn("--max-inboxes and --max-memory only apply to --store memory: set maxmemory in Redis")
	case c.Store == inMemory && c.InboxBytes > c.MaxMemory:
		log.Warn("--inbox-bytes is more than --max-memory: one inbox can fill the server",
			"inbox-bytes", c.InboxBytes, "max-memory", c.MaxMemory)
	}
	if memory := size(available()); c.MaxInFlight > memory {
		log.Warn("--max-in-flight is more than the memory available to this process", "max-in-flight", c.MaxInFlight, "memory", memory)
	}
	if !c.PeerJS && (c.PeerJSDiscovery || c.PeerJSKey != "peerjs") {
		log.Warn("--peerjs-key and --peerjs-discovery have no effect with --peerjs=false")
	}
	if c.Store == inMemory && os.Getenv(redisPassword) != "" {
		log.Warn("INBOX_REDIS_PASSWORD has no effect without --store redis://")
	}
	if most := debug.SetMemoryLimit(-1); c.Store == inMemory && most != math.MaxInt64 && int64(c.MaxMemory) > most {
		log.Warn("--max-memory is more than GOMEMLIMIT: a full server would spend its time collecting garbage",
			"max-memory", c.MaxMemory, "GOMEMLIMIT", size(most))
	}
}

// Environment variables for passwords. No flag sets these, since other users of the
// machine could see a flag.
const (
	peerPassword  = "INBOX_PASSWORD"
	redisPassword = "INBOX_REDIS_PASSWORD"
)

// ofKubernetes matches the variables that Kubernetes sets in every pod next to a service
// named inbox or inbox-something.
var ofKubernetes = regexp.MustCompile(`^INBOX_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|^INBOX_([A-Z0-9_]+_)?PORT=[a-z]+://`)

// unknownVariables returns variables that look like settings of this program but are not,
// with the setting that was probably meant. It never returns a value.
func unknownVariables(environ []string) (all []string) {
	parser, err := kong.New(new(cli), kong.DefaultEnvars("INBOX"))
	if err != nil {
		panic(err) // a struct tag is invalid
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
			name += " (did you mean " + known[i] + "?)"
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// negative matches a value that kong would parse as a short flag.
var negative = regexp.MustCompile(`^-\d`)

// joinNegatives turns --flag -1 into --flag=-1, so that kong reports the value instead of
// an unknown flag.
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

// level is a slog.Level whose parse error lists the levels.
type level struct{ slog.Level }

func (l *level) UnmarshalText(text []byte) error {
	if err := l.Level.UnmarshalText(text); err != nil {
		return errors.New("unknown level, want debug, info, warn or error")
	}
	return nil
}
