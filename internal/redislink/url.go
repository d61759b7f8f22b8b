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

// ParseURL reads where Redis is:
//
//	redis://[user[:password]@]host[:port][/database]     one server
//	redis://host:26379,host2:26379/?master_set=name      behind Sentinel
//	redis://host:6379,host2:6379,host3:6379              Cluster; one host does too
//
// With rediss instead of redis, connections are TLS. The certificate is for the
// host that is connected to, which with Sentinel and Cluster is what they call
// their servers; or for server_name of the query. Sentinels that want a password
// of their own get sentinel_user and sentinel_password from the query; addr in
// the query is another way to name more hosts.
//
// The error does not hold the URL, which may hold a password.
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
		return rueidis.ClientOption{}, errors.New("it is no URL")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("its query cannot be read")
	}
	known := []string{"master_set", "sentinel_user", "sentinel_password", "server_name", "addr"}
	for name := range query {
		switch {
		case slices.Contains(known, name):
		case strings.Contains(u.RawQuery, "@"): // a password may have been taken for the query
			return rueidis.ClientOption{}, errReserved
		default:
			return rueidis.ClientOption{}, fmt.Errorf("its query holds %q, and may hold %s", name, strings.Join(known, ", "))
		}
	}
	if database := strings.TrimPrefix(u.Path, "/"); database != "" {
		if _, err := strconv.ParseUint(database, 10, 31); err != nil {
			return rueidis.ClientOption{}, errors.New("the path after its host is the number of a database, as in /0")
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
		o.TLSConfig.ServerName = query.Get("server_name") // or each its own
	}
	if o.Sentinel.MasterSet != "" {
		o.Sentinel.Username, o.Sentinel.Password = query.Get("sentinel_user"), query.Get("sentinel_password")
		o.Sentinel.TLSConfig = o.TLSConfig
	}
	return o, nil
}

// errReserved is about a URL that a character of its password has cut short. It does
// not tell which: that would be a part of the password.
var errReserved = errors.New("a character that URLs reserve, such as # / ? % or @, is not percent-encoded: " +
	"in a password write # as %23, or leave the password out and set INBOX_REDIS_PASSWORD or --redis-password-file")

// splitHosts takes all hosts but the first out of a URL.
func splitHosts(s string) (first string, more []string, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "redis" && scheme != "rediss" {
		return "", nil, errors.New("it begins with redis:// or rediss://")
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
