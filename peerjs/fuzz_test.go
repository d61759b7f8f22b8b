package peerjs

import (
	"encoding/json"
	"testing"
	"testing/quick"
)

// FuzzFrame holds what is passed on against what encoding/json makes of a frame:
// nothing but the payload is the sender's choice.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		`{"type":"OFFER","dst":"bob","payload":{"sdp":{"type":"offer","sdp":"v=0"}}}`, `{"type":"CANDIDATE","dst":"b","payload":null}`,
		`{"type":"ANSWER","dst":"b"}`, `{"type":"LEAVE"}`, `{"type":"LEAVE","dst":null}`, `{"type":"EXPIRE","dst":"\u0062\""}`, `{"type":"HEARTBEAT"}`,
		`{"payload":1,"payload":[2],"dst":"x","dst":"y","type":"OPEN","type":"OFFER"}`, `{"type":"OFFER","dst":"b","payload":{}}}`,
		`{"type":"OFFER","dst":"b","payload":1,"src":"eve"}`, `{"type":"OFFER","dst":"b","payload":"\ud800"}`, `{"type":"OFFER","dst":1}`, `{}`, `[]`, `"`, ``,
		`{"type":"OFFER","dst":"\ud800x\udc00"}`, `{"type":"OFFER","dst":"\ud83d\ude00\/"}`,
		`{"\u0074ype":"OFFER","d\u0073t":"b","payload":-0.0e+9}`, "{\"type\":\"OFFER\",\"dst\":\"b\",\"payload\":\"\x01\"}", ` { "type" : "OFFER" , "dst" : "b" , "payload" : [ ] } `,
	} {
		f.Add([]byte(seed), "alice", "bob")
	}
	f.Add([]byte(`{"type":"OFFER","dst":"b","payload":{}}`), "a\"\\\x00", "日本")
	f.Fuzz(func(t *testing.T, frame []byte, src, dst string) {
		var s said
		if !s.parse(frame) {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(frame, &members); err != nil || members == nil {
			t.Fatalf("%q was taken: %v", frame, err)
		}
		var kind, to string
		if raw := members["type"]; raw != nil {
			if err := json.Unmarshal(raw, &kind); err != nil {
				t.Fatalf("%q was taken, with the type %s", frame, raw)
			}
		}
		if raw := members["dst"]; raw != nil {
			if err := json.Unmarshal(raw, &to); err != nil {
				t.Fatalf("%q was taken, with the dst %s", frame, raw)
			}
		}
		if s.kind != known(kind) || s.dst != to {
			t.Fatalf("%q has the type %q and dst %q", frame, s.kind, s.dst)
		}
		var out map[string]json.RawMessage
		passed := appendFrame(nil, s.body(), valid(src), valid(dst))
		if err := json.Unmarshal(passed, &out); err != nil {
			t.Fatalf("%q became %q: %v", frame, passed, err)
		}
		want := map[string]string{"type": s.kind, "src": valid(src), "dst": valid(dst)}
		for name, value := range want {
			var got string
			if err := json.Unmarshal(out[name], &got); err != nil || got != value {
				t.Fatalf("%q became %q", frame, passed)
			}
		}
		members["payload"] = out["payload"]
		if n := len(out); (out["payload"] == nil && n != 3) || (out["payload"] != nil && n != 4) || string(out["payload"]) != string(s.payload) {
			t.Fatalf("%q became %q", frame, passed)
		}
	})
}

// valid is s as JSON can carry it: an id that is not UTF-8 is refused before.
func valid(s string) string { return string([]rune(s)) }

// A JSON string is what encoding/json reads, whatever it is made of.
func TestAppendString(t *testing.T) {
	err := quick.Check(func(s string) bool {
		var back string
		return json.Unmarshal(appendString(nil, valid(s)), &back) == nil && back == valid(s)
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

// FuzzQuery: whatever stands in a URL, it is read without harm, and as it is.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "id=a&token=b&key=peerjs", "id", "id=", "&&id=%", "id=%zz&id=b", "xid=1&id=a+b", "id=a;b", "id=%ff", "=&="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if got := parameter("id="+escape(query)+"&"+query, "id"); got != query {
			t.Errorf("%q became %q", query, got)
		}
		parameter(query, "token")
	})
}

func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		b = append(b, '%', hex[s[i]>>4], hex[s[i]&15])
	}
	return string(b)
}
