package redislink

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// ParseURL parses the address of Redis:
//
//	redis://[user[:password]@]host[:port][/database]     one server
//	redis://host:26379,host2:26379/?master_set=name      servers behind Sentinel
//	redis://host:6379,host2:6379,host3:6379              a cluster; one host is enough
//
// With rediss instead of redis, connections use TLS. The certificate has to match the
// name under which each server is reached, which Sentinel and Cluster announce, or the
// query parameter server_name if it is set. The parameters sentinel_user and
// sentinel_password are for Sentinels with separate credentials. The parameter addr adds
// a host.
//
// Errors never contain the URL, which may contain a password.
func ParseURL(s string) (rueidis.ClientOption, error) {
	first, more, err := splitHosts(s)
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	_, rest, _ := strings.Cut(s, "://")
	u, err := url.Parse(first)
	switch {
	case strings.Contains(rest, "#"), err == nil && strings.Contains(u.Path, "@"), err != nil && strings.Contains(rest, "@"):
		return rueidis.ClientOption{}, errReserved
	case err != nil:
		return rueidis.ClientOption{}, errors.New("malformed URL")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("malformed query")
	}
	known := []string{"master_set", "sentinel_user", "sentinel_password", "server_name", "addr"}
	for name := range query {
		switch {
		case slices.Contains(known, name):
		case strings.Contains(u.RawQuery, "@"): // part of a password may have been parsed as the query
			return rueidis.ClientOption{}, errReserved
		default:
			return rueidis.ClientOption{}, fmt.Errorf("unknown query parameter %q, want %s", name, strings.Join(known, ", "))
		}
	}
	if database := strings.TrimPrefix(u.Path, "/"); database != "" {
		if _, err := strconv.ParseUint(database, 10, 31); err != nil {
			return rueidis.ClientOption{}, errors.New("the path must be the number of a database, such as /0")
		}
	}
	query["addr"] = append(query["addr"], more...)
	u.RawQuery = query.Encode()
	if u.Path == "/" {
		u.Path = ""
	}
	o, err := rueidis.ParseURL(u.String())
	if err != nil {
		return rueidis.ClientOption{}, errors.New(strings.TrimPrefix(err.Error(), "redis: "))
	}
	if o.TLSConfig != nil {
		o.TLSConfig.ServerName = query.Get("server_name") // if empty, each server's own name
	}
	if o.Sentinel.MasterSet != "" {
		o.Sentinel.Username, o.Sentinel.Password = query.Get("sentinel_user"), query.Get("sentinel_password")
		o.Sentinel.TLSConfig = o.TLSConfig
	}
	return o, nil
}

// errReserved reports a URL that a character of its password has cut short. It does not
// name the character, which would reveal a part of the password.
var errReserved = errors.New("a reserved character, such as # / ? % or @, is not percent-encoded: " +
	"in a password write # as %23, or set the password with INBOX_REDIS_PASSWORD or --redis-password-file")

// splitHosts removes all hosts but the first from a URL and returns them.
func splitHosts(s string) (first string, more []string, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "redis" && scheme != "rediss" {
		return "", nil, errors.New("the URL must begin with redis:// or rediss://")
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	start := strings.LastIndexByte(rest[:end], '@') + 1
	hosts := strings.Split(rest[start:end], ",")
	if slices.Contains(hosts, "") {
		return "", nil, errors.New("a host is missing")
	}
	return scheme + "://" + rest[:start] + hosts[0] + rest[end:], hosts[1:], nil
}
