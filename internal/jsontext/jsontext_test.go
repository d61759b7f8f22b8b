package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var objects = []string{
	`{}`, ` { } `, `{"a":1}`, `{"a":"b","a":"c"}`, `{"a":[1,2,{"b":null}],"c":true,"d":false}`, "\t{\r\n}",
	`{"a":"\u00e9\ud83d\ude00\ud800x\udc00\u0041\n\t\b\f\r\/\\\""}`, `{"":""}`, `{"a":-0.5e+10}`,
	``, `[]`, `1`, `"a"`, `null`, `{`, `}`, `{}}`, `{}{}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{'a':1}`,
	`{"a":01}`, `{"a":1.}`, `{"a":.1}`, `{"a":+1}`, `{"a":1e}`, `{"a":tru}`, `{"a":nul}`, `{"a":"\x"}`, `{"a":"\u12g4"}`,
	"{\"a\":\"\x00\"}", "{\"a\":\"\n\"}", "\ufeff{}", "{\"a\":\"日本\"}", `{"a":"b`, `{"a":"\`, `{"a":"\u1`,
	`{"a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`,
}

// check compares Object, and the strings in it, with encoding/json.
func check(t *testing.T, text []byte) {
	if !utf8.Valid(text) {
		return // callers never pass it
	}
	got := map[string]string{} // string members
	object := Object(text, func(name, value []byte) {
		delete(got, String(name))
		if IsString(value) {
			got[String(name)] = String(value)
		}
		if alike := Is(value, "OFFER"); alike != (IsString(value) && String(value) == "OFFER") {
			t.Errorf("Is(%s, \"OFFER\") = %v", value, alike)
		}
		if IsString(value) && HasLoneSurrogate(value) && !strings.ContainsRune(String(value), utf8.RuneError) {
			t.Errorf("%s has a lone surrogate and became %q", value, String(value))
		}
	})
	var want map[string]any
	err := json.Unmarshal(text, &want)
	if deep := strings.Count(string(text), "[") + strings.Count(string(text), "{"); deep >= maxDepth && !object {
		return
	}
	if taken := json.Valid(text) && want != nil; err == nil && object != taken || !json.Valid(text) && object {
		t.Fatalf("%q is an object: %v, but encoding/json returns %v", text, object, err)
	}
	if !object || err != nil { // encoding/json rejects numbers beyond float64
		return
	}
	for name, value := range want {
		text, isString := value.(string)
		if found, ok := got[name]; ok != isString || found != text {
			t.Errorf("%q: member %q is %q, want %q", text, name, found, text)
		}
	}
}

func TestObjectAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range objects {
		check(t, []byte(text))
	}
}

func FuzzObject(f *testing.F) {
	for _, text := range objects {
		f.Add([]byte(text))
	}
	f.Fuzz(check)
}

func TestDeeplyNestedValuesAreRejected(t *testing.T) {
	deep := `{"a":` + strings.Repeat("[", 1_000_000)
	if Object([]byte(deep), nil) {
		t.Error("a million nested arrays were accepted")
	}
}

func TestIsComparesUnescapedText(t *testing.T) {
	for quoted, want := range map[string]bool{
		`"type"`: true, `"\u0074ype"`: true, `"\u0074\u0079\u0070\u0065"`: true,
		`"typ"`: false, `"types"`: false, `""`: false, `"\n"`: false, `"\u0074"`: false, `"tyPe"`: false, `1`: false, `{}`: false,
	} {
		if got := Is([]byte(quoted), "type"); got != want {
			t.Errorf("Is(%s, \"type\") = %v", quoted, got)
		}
	}
	if Is(nil, "") {
		t.Error("a missing member is the empty string")
	}
}

func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "a", "\"\\\n\r\t\x00\x1f\x7f", "日本\u2028"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		quoted := AppendString(nil, text)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != text {
			t.Fatalf("%q became %s, and that %q", text, quoted, back)
		}
		if String(quoted) != text || string(AppendText([]byte("x"), quoted)) != "x"+text {
			t.Fatalf("%s was parsed as %q", quoted, String(quoted))
		}
		if len(quoted) > 6*len(text)+2 {
			t.Fatalf("%q took %d bytes", text, len(quoted))
		}
	})
}

func TestEscapedSizeMatchesAppendEscaped(t *testing.T) {
	var all []byte
	for c := range 128 {
		all = append(all, byte(c))
	}
	for _, text := range append([]string{string(all), "日本", ""}, objects...) {
		if got, want := EscapedSize([]byte(text)), len(AppendEscaped(nil, text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
