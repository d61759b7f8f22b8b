package peerjs

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzFrame compares forwarded frames with encoding/json's view of the input: the sender
// controls only the payload.
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
	for _, value := range []string{
		"0", "-0", "01", "-", "1.", ".1", "1.5e", "1E+07", "1e-7", "--1", "+1", "0x1", "tru", "true", "truex", "nul", "NaN", `"`, `"\`, `"\u12"`, `"\u00Zz"`,
		`"\x"`, `"\/\b\f\n\r\t\\\""`, "[", "[1", "[1,", "[1,]", "[,]", "[ ]", "{ }", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1 "b":2}`, "[1 2]", "\u00a0", "",
		strings.Repeat("[", 1010), strings.Repeat("[", 500) + strings.Repeat("]", 500), " \t\r\n1\n",
	} {
		f.Add([]byte(`{"type":"OFFER","dst":"b","payload":`+value+`}`), "a", "b")
	}
	for _, dst := range []string{
		"1", "-1.50", "0", "-0", "0e9", "1e-400", "1e400", "-1e400", "12345678901234567890", "true", "false", "null", `""`, "{}", `{"a":[1]}`, "[]", `["b"]`,
		`"\ud800"`, `"\udc00\ud800"`, `"\ud800\ud83d\ude00"`, `"\ufffd"`, `"\\ud800"`,
	} {
		f.Add([]byte(`{"type":"OFFER","dst":`+dst+`}`), "a", "b")
	}
	f.Add([]byte(`{"type":"OFFER","dst":"b","payload":{}}`), "a\"\\\x00", "日本")
	f.Fuzz(func(t *testing.T, frame []byte, src, dst string) {
		if !utf8.Valid(frame) {
			return // package socket rejects such a frame
		}
		var s clientFrame
		taken := s.parse(frame)
		var members map[string]json.RawMessage
		var kind string
		if err := json.Unmarshal(frame, &members); err != nil || members == nil || members["type"] == nil || string(members["type"]) == "null" ||
			json.Unmarshal(members["type"], &kind) != nil {
			if taken {
				t.Fatalf("%q was accepted", frame)
			}
			return
		}
		if !taken {
			if deep := bytes.Count(frame, []byte("[")) + bytes.Count(frame, []byte("{")); deep < 1000 {
				t.Fatalf("%q was not accepted", frame)
			}
			return
		}
		if s.kind != known(members["type"]) {
			t.Fatalf("%q has the type %q", frame, s.kind)
		}
		checkAddress(t, s.dst, members["dst"])
		var out map[string]json.RawMessage
		passed := appendFrame(nil, s.body(), address{text: valid(src)}, valid(dst))
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

// checkAddress compares an address with encoding/json's view of a dst.
func checkAddress(t *testing.T, got address, dst json.RawMessage) {
	t.Helper()
	var value any
	if dst != nil && json.Unmarshal(dst, &value) != nil {
		value = math.Inf(1) // the only remaining error is a number out of range
	}
	var want address
	switch value := value.(type) {
	case nil:
	case bool:
		if value {
			want = address{"true", true}
		}
	case string:
		if got.json && strings.ContainsRune(value, utf8.RuneError) { // written as half of a surrogate pair
			value = got.text
		}
		want = address{value, got.json}
	case float64:
		if math.IsInf(value, 0) {
			want = address{"null", true}
		} else if value != 0 {
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			want = address{string(text), true}
		}
	default:
		want = address{string(dst), true}
	}
	if dst != nil && dst[0] == '[' || dst != nil && dst[0] == '{' {
		want = address{string(dst), true} // it contains a number out of range
	}
	if got != want {
		t.Fatalf("dst %q became %+v, want %+v", dst, got, want)
	}
}

// valid returns s as JSON can represent it. Ids that are not UTF-8 are refused earlier.
func valid(s string) string { return string([]rune(s)) }

// FuzzQuery checks that parameters are read unchanged from any query.
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
