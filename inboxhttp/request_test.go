package inboxhttp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// fields are the members of a frame as encoding/json decodes them.
type fields struct {
	Type, ID, Password, After, To, Key, Body, Body64 *string
}

// readFields decodes an object like encoding/json, except that names are case-sensitive.
// It reports whether the message is a valid request.
func readFields(message []byte) (f fields, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(message))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return f, false
	}
	if !json.Valid(message) {
		return f, false
	}
	into := map[string]**string{"type": &f.Type, "id": &f.ID, "password": &f.Password, "after": &f.After,
		"to": &f.To, "key": &f.Key, "body": &f.Body, "body64": &f.Body64}
	for dec.More() {
		name, _ := dec.Token()
		var value any
		if err := dec.Decode(&value); err != nil {
			return f, false
		}
		if field := into[name.(string)]; field != nil {
			text, isText := value.(string)
			if !isText {
				return f, false
			}
			*field = &text
		}
	}
	return f, true
}

var requests = []string{
	`{"type":"open","id":"alice","password":"x","after":"0"}`,
	`{"type":"send","to":"bob","body":"hello","key":"k1"}`,
	`{"type":"send","to":"bob","body64":"//4=","key":"k1"}`,
	` { "type" : "ack" , "after" : "0" } `,
	"\t{\r\n\"type\":\"ack\"}\n",
	`{}`, `{"a":1}`, `{"a":null,"b":true,"c":[1,2,{"d":"}"}],"e":{"f":{}},"g":-1.5e+3}`,
	`{"type":"\u0073end","body":"\ud83d\ude00\u00e9\n\t\r\b\f\"\\\/"}`,
	`{"t\u0079pe":"send"}`, `{"Type":"send"}`, `{"":""}`,
	`{"type":"a","type":"b"}`, `{"body":"","body64":""}`,
	`{"body":"\ud800"}`, `{"body":"\ud800\u0061"}`, `{"body":"\udc00"}`, `{"body":"\u12"}`, `{"body":"\x"}`, `{"body":"\"}`,
	`{"type":null}`, `{"type":5}`, `{"type":{}}`, `{"type":["a"]}`, `{"body":true}`, `{"id":{"type":"send"}}`,
	``, ` `, `{`, `}`, `[]`, `null`, `"x"`, `5`, `{]`, `{}}`, `{} {}`, `{},`, `{,}`, `{"a"}`, `{"a":}`, `{"a" 1}`, `{"a":1,}`,
	`{"a":1 "b":2}`, `{"a":1,,"b":2}`, `{:1}`, `{1:1}`, `{'a':1}`, `{a:1}`, `{"a":01}`, `{"a":+1}`, `{"a":1.}`, `{"a":.5}`, `{"a":NaN}`,
	`{"a":tru}`, `{"a":truex}`, `{"a":[1,]}`, `{"a":[}`, `{"a":"b}`, `{"a":"b"`, `{"a":[1}`, `{"a":{"b":1]}`, `{"a":{"b" 1}}`,
	"{\"body\":\"a\nb\"}", "{\"body\":\"a\x00b\"}", "{\"bo\ndy\":\"a\"}", "{\"a\":\"\t\"}", "{\"a\":[\"\t\"]}", "{\"a\":\"\x7f\"}",
	"\ufeff{}", "{}\x00", "{\"a\":1}//", "/**/{}",
	strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100),
}

// parse agrees with encoding/json, or rejects the message.
func checkRequest(t *testing.T, message []byte) {
	if !utf8.Valid(message) {
		return // the socket rejects it before parse
	}
	var q request
	err := q.parse(bytes.Clone(message))
	want, ok := readFields(message)
	if ok != (err == nil) {
		t.Errorf("%q: parse returns %v, encoding/json accepts it: %v", message, err, ok)
		return
	}
	if !ok {
		return
	}
	for _, field := range []struct {
		name, got string
		has       bool
		want      *string
	}{
		{"type", q.kind, want.Type != nil, want.Type},
		{"id", q.id, want.ID != nil, want.ID},
		{"password", q.password, want.Password != nil, want.Password},
		{"after", q.after, q.hasAfter, want.After},
		{"to", q.to, want.To != nil, want.To},
		{"key", q.key, want.Key != nil, want.Key},
	} {
		expect := ""
		if field.want != nil {
			expect = *field.want
		}
		if field.got != expect || field.has != (field.want != nil) {
			t.Errorf("%q: %s is %q, want %q", message, field.name, field.got, expect)
		}
	}
	if q.hasBody != (want.Body != nil) || q.hasBody64 != (want.Body64 != nil) {
		t.Errorf("%q: body %v, body64 %v", message, q.hasBody, q.hasBody64)
	}
	switch {
	case q.hasBody && !q.hasBody64 && string(q.body) != *want.Body,
		q.hasBody64 && !q.hasBody && string(q.body) != *want.Body64:
		t.Errorf("%q: the body is %q", message, q.body)
	}
}

func TestRequestParse(t *testing.T) {
	for _, message := range requests {
		checkRequest(t, []byte(message))
	}
}

// A parsed request does not alias the buffer.
func TestRequestDoesNotAliasBuffer(t *testing.T) {
	message := []byte(`{"type":"send","to":"bob","key":"k","body":"hello","after":"0","id":"i","password":"p"}`)
	var q request
	if err := q.parse(message); err != nil {
		t.Fatal(err)
	}
	for i := range message {
		message[i] = 'X'
	}
	if q.kind != "send" || q.to != "bob" || q.key != "k" || string(q.body) != "hello" || q.after != "0" || q.id != "i" || q.password != "p" {
		t.Errorf("%+v", q)
	}
}

func FuzzRequest(f *testing.F) {
	for _, message := range requests {
		f.Add([]byte(message))
	}
	f.Fuzz(checkRequest)
}
