package inboxhttp_test

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"inbox"
	"inbox/inboxhttp"
	"inbox/internal/meter"
	"inbox/memstore"
)

type tallied struct {
	transport meter.Transport
	status    int
}

// snapshot reads all counts, keyed by tallied or [meter.Reason].
func snapshot(m *meter.Meter, r *meter.Refusals) map[any]uint64 {
	all := make(map[any]uint64)
	for _, t := range meter.Transports() {
		for _, status := range meter.Codes() {
			all[tallied{t, status}] = m.Requests(t, status)
		}
	}
	for _, why := range meter.Reasons() {
		all[why] = r.Count(why)
	}
	return all
}

// Each request counts once, by transport and status. Each refusal also counts by reason
// and network.
func TestRequestsAreCounted(t *testing.T) {
	var m meter.Meter
	refusals := meter.NewRefusals(false)
	pepper := inbox.NewPepper([inbox.PepperSize]byte{})
	h, err := inboxhttp.New(inboxhttp.Config{
		Store: memstore.New(inbox.Limits{Messages: 1}), Authenticator: pepper, MaxBody: 100, AllowOrigins: []string{"https://a.example"},
		Refusals: refusals, Meter: &m,
	})
	if err != nil {
		t.Fatal(err)
	}
	const none = meter.Reason(255)
	for _, c := range []struct {
		what, method, query string
		header              map[string]string
		body                string
		want                tallied
		reason              meter.Reason
	}{
		{"a poll that does not wait", "GET", "?wait=0", nil, "", tallied{meter.HTTP, 204}, none},
		{"a send", "POST", "?to=alice", nil, "x", tallied{meter.HTTP, 200}, none},
		{"a send to a full inbox", "POST", "?to=alice", nil, "x", tallied{meter.HTTP, 503}, meter.InboxFull},
		{"a long poll that finds something", "GET", "?after=0&wait=5", nil, "", tallied{meter.LongPoll, 200}, none},
		{"a long poll of a bad cursor", "GET", "?after=nonsense&wait=5", nil, "", tallied{meter.HTTP, 400}, meter.BadCursor},
		{"a pop", "GET", "?wait=0", nil, "", tallied{meter.HTTP, 200}, none},
		{"a pop that finds nothing", "GET", "?wait=1", nil, "", tallied{meter.LongPoll, 204}, none},
		{"an acknowledgement", "GET", "?after=0&limit=0", nil, "", tallied{meter.HTTP, 204}, none},
		{"a wrong password", "POST", "?to=alice", map[string]string{"Authorization": "Basic YWxpY2U6YW5vdGhlcg=="}, "x", tallied{meter.HTTP, 401}, meter.Unauthorized},
		{"a long poll with a wrong password", "GET", "?after=0&wait=5", map[string]string{"Authorization": "Basic YWxpY2U6YW5vdGhlcg=="}, "", tallied{meter.LongPoll, 401}, meter.Unauthorized},
		{"a stream with a wrong password", "GET", "", map[string]string{"Authorization": "Basic YWxpY2U6YW5vdGhlcg==", "Accept": "text/event-stream"}, "", tallied{meter.Stream, 401}, meter.Unauthorized},
		{"an absent recipient", "POST", "?to=nobody", nil, "x", tallied{meter.HTTP, 404}, meter.NoSuchInbox},
		{"no recipient", "POST", "", nil, "x", tallied{meter.HTTP, 400}, meter.BadRecipient},
		{"a large body", "POST", "?to=alice", nil, strings.Repeat("x", 101), tallied{meter.HTTP, 413}, meter.TooLarge},
		{"an encoded body", "POST", "?to=alice", map[string]string{"Content-Encoding": "br"}, "x", tallied{meter.HTTP, 415}, meter.EncodedBody},
		{"an unknown method", "PATCH", "", nil, "", tallied{meter.HTTP, 405}, meter.MethodNotAllowed},
		{"OPTIONS", "OPTIONS", "", nil, "", tallied{meter.HTTP, 204}, none},
		{"a preflight", "OPTIONS", "", map[string]string{"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}, "", tallied{meter.HTTP, 204}, none},
		{"a preflight of another origin", "OPTIONS", "", map[string]string{"Origin": "https://b.example", "Access-Control-Request-Method": "GET"}, "", tallied{meter.HTTP, 403}, meter.ForbiddenOrigin},
		{"another origin", "GET", "?wait=0", map[string]string{"Origin": "https://b.example"}, "", tallied{meter.HTTP, 403}, meter.ForbiddenOrigin},
		{"a navigation", "GET", "?wait=0", map[string]string{"Sec-Fetch-Mode": "navigate"}, "", tallied{meter.HTTP, 403}, meter.ForbiddenNavigation},
		{"an incomplete handshake", "GET", "", map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"}, "", tallied{meter.Socket, 400}, meter.BadRequest},
		{"a close", "DELETE", "", nil, "", tallied{meter.HTTP, 204}, none},
	} {
		before := snapshot(&m, refusals)
		r := httptest.NewRequestWithContext(t.Context(), c.method, "/inbox"+c.query, strings.NewReader(c.body))
		r.RemoteAddr = "203.0.113.9:1234"
		r.SetBasicAuth("alice", "password")
		for name, value := range c.header {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want.status {
			t.Errorf("%s got %d %s", c.what, w.Code, w.Body)
			continue
		}
		after := snapshot(&m, refusals)
		for key, n := range after {
			want := before[key]
			if key == any(c.want) || c.reason != none && key == any(c.reason) {
				want++
			}
			if n != want {
				t.Errorf("%s: %v counts %d, want %d", c.what, key, n, want)
			}
		}
		for why, sources := range refusals.Take() {
			if len(sources) != 1 || sources[0].Network != netip.MustParsePrefix("203.0.113.0/24") {
				t.Errorf("%s: %v was counted for %v", c.what, why, sources)
			}
		}
		for _, transport := range meter.Transports() {
			if n := m.Receivers(transport); n != 0 {
				t.Errorf("%s left %d receivers on %v", c.what, n, transport)
			}
		}
	}
}
