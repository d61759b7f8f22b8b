package inboxhttp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"inbox/inboxhttp"
)

// Hostile requests. The server must answer each with an error of the protocol or of HTTP,
// or close the connection. It must not touch anyone's messages, echo the input or crash.

const evil = "3v1l"

// badInputs returns requests by name. auth is a valid Authorization header.
func badInputs(auth string) map[string]string {
	post := func(header, body string) string {
		return "POST /inbox?to=victim HTTP/1.1\r\nHost: x\r\n" + auth + header + "\r\n" + body
	}
	get := func(header string) string { return "GET /inbox?wait=0 HTTP/1.1\r\nHost: x\r\n" + header + "\r\n" }
	inputs := map[string]string{
		// Request smuggling.
		"length and chunks":         post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nDELETE /inbox HTTP/1.1\r\n"+auth+"\r\n"),
		"chunks and length":         post("Transfer-Encoding: chunked\r\nContent-Length: 100\r\n", "zz\r\n"),
		"two lengths":               post("Content-Length: 4\r\nContent-Length: 5\r\n", evil+"x"),
		"a list of lengths":         post("Content-Length: 4, 5\r\n", evil+"x"),
		"a length with a sign":      post("Content-Length: +4\r\n", evil),
		"a negative length":         post("Content-Length: -4\r\n", evil),
		"a length in hex":           post("Content-Length: 0x4\r\n", evil),
		"a length with white space": post("Content-Length : 4\r\n", evil),
		"an overlong length":        post("Content-Length: 99999999999999999999999\r\n", evil),
		"an empty length":           post("Content-Length:\r\n", evil),
		"chunked twice":             post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
		"chunked in two lines":      post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
		"chunked, misspelled":       post("Transfer-Encoding: xchunked\r\n", "4\r\n"+evil+"\r\n0\r\n\r\n"),
		"chunked, with a tab":       post("Transfer-Encoding:\tchunked \r\n", "zz\r\n"),
		"gzip, chunked":             post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
		"chunks with bare LF":       post("Transfer-Encoding: chunked\r\n", "4\n"+evil+"\n0\n\n"),
		"a chunk size in decimal":   post("Transfer-Encoding: chunked\r\n", "g\r\n"+evil+"\r\n0\r\n\r\n"),
		"an overlong chunk size":    post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"+evil),
		"a negative chunk size":     post("Transfer-Encoding: chunked\r\n", "-4\r\n"+evil+"\r\n0\r\n\r\n"),
		"a chunk without its end":   post("Transfer-Encoding: chunked\r\n", "4\r\n"+evil+evil+"0\r\n\r\n"),
		"a huge chunk extension":    post("Transfer-Encoding: chunked\r\n", "4;"+strings.Repeat("a", 20000)+"\r\n"+evil+"\r\n0\r\n\r\n"),
		"a bad trailer":             post("Transfer-Encoding: chunked\r\nTrailer: X\r\n", "0\r\nX y: "+evil+"\r\n\r\n"),

		// Request lines.
		"no version":              "GET /inbox\r\n\r\n",
		"an old version":          "GET /inbox HTTP/0.9\r\nHost: x\r\n\r\n",
		"a new version":           "GET /inbox HTTP/3.0\r\nHost: x\r\n\r\n",
		"an unknown version":      "GET /inbox HTTP/1.10\r\nHost: x\r\n\r\n",
		"half a preface":          "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
		"two spaces":              "GET  /inbox HTTP/1.1\r\nHost: x\r\n\r\n",
		"a tab":                   "GET\t/inbox\tHTTP/1.1\r\nHost: x\r\n\r\n",
		"an empty method":         " /inbox HTTP/1.1\r\nHost: x\r\n\r\n",
		"a method with brackets":  "G(T /inbox HTTP/1.1\r\nHost: x\r\n\r\n",
		"a method in UTF-8":       "GÉT /inbox HTTP/1.1\r\nHost: x\r\n\r\n",
		"an endless method":       strings.Repeat("A", 20000),
		"a CONNECT request":       "CONNECT inbox:80 HTTP/1.1\r\nHost: x\r\n\r\n",
		"asterisk":                "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"asterisk for GET":        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
		"absolute form":           "GET http://" + evil + "/inbox?wait=0 HTTP/1.1\r\nHost: x\r\n\r\n",
		"another scheme":          "GET gopher://" + evil + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"no path":                 "GET ?wait=0 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a path that climbs":      "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"a path with two slashes": "GET //" + evil + "/inbox HTTP/1.1\r\nHost: x\r\n\r\n",
		"a bad escape":            "GET /inbox%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"a NUL":                   "GET /inbox\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a fragment":              "GET /inbox#" + evil + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"a huge query":            "GET /inbox?" + strings.Repeat("a", 20000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"many parameters":         "GET /inbox?" + strings.Repeat("a&", 7000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"raw bytes in a query":    "POST /inbox?to=\xff\xfe HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"line ends in a query":    "POST /inbox?to=%0d%0aX-Evil:%20" + evil + " HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"only line ends":          "\r\n\r\n\r\n\r\n",
		"a TLS handshake":         "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 100),
		"an SSH client":           "SSH-2.0-OpenSSH_9.2\r\n",
		"noise":                   "\x00\xff\x00\xff\r\n\r\n",
		"bare LF":                 "GET /inbox?wait=0 HTTP/1.1\nHost: x\n" + strings.ReplaceAll(auth, "\r", "") + "X: \x00\n\n",
		"a request in a header":   get(auth + "X: a\r\n b\r\nGET /inbox HTTP/1.1\r\n"),

		// Headers.
		"no host":                   "GET /inbox HTTP/1.1\r\n\r\n",
		"two hosts":                 "GET /inbox HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a bad host":                "GET /inbox HTTP/1.1\r\nHost: a b\r\n\r\n",
		"a header without a name":   get(": " + evil + "\r\n"),
		"a header without a colon":  get(evil + "\r\n"),
		"a name with a space":       get("X Y: " + evil + "\r\n"),
		"a name with a line end":    get("X\r: " + evil + "\r\n"),
		"a name in UTF-8":           get("Xé: " + evil + "\r\n"),
		"a value with a NUL":        get("X: \x00" + evil + "\r\n"),
		"a value with a bare CR":    get("X: a\rY: " + evil + "\r\n"),
		"a folded header":           get("X: a\r\n\t" + evil + "\r\n"),
		"one huge header":           get("X: " + strings.Repeat("a", 1<<20) + "\r\n"),
		"many headers":              get(strings.Repeat("X: a\r\n", 10000)),
		"endless headers":           "GET /inbox HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: a\r\n", 5000),
		"credentials twice":         get(auth + auth),
		"credentials, huge":         get("Authorization: Basic " + strings.Repeat("YTpi", 3000) + "\r\n"),
		"credentials of NULs":       get("Authorization: " + basic("\x00:\x00") + "\r\n"),
		"credentials with CRLF":     get("Authorization: " + basic("a\r\nX-Evil: "+evil+":b") + "\r\n"),
		"credentials, not UTF-8":    get("Authorization: " + basic("\xff"+evil+":b") + "\r\n"),
		"a key with CRLF":           post("Idempotency-Key: a\r\n b\r\nContent-Length: 0\r\n", ""),
		"an expectation":            post("Expect: "+evil+"\r\nContent-Length: 4\r\n", evil),
		"an upgrade to h2c":         get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
		"an upgrade to nonsense":    get("Connection: Upgrade\r\nUpgrade: " + evil + "\r\n"),
		"an origin with a line end": get("Origin: https://a\r\n\tX-Evil: " + evil + "\r\n"),
		"headers of proxies":        get("X-Forwarded-For: " + evil + "\r\nX-Original-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\n"),
		"connection: authorization": get("Connection: Authorization\r\n"),
		"a GET with a body":         get("Content-Length: 4\r\n") + evil,
		"a DELETE with a body":      "DELETE /inbox HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n" + evil,
	}
	return inputs
}

// ofHTTP has the statuses with which net/http itself answers malformed requests.
var ofHTTP = map[int]bool{400: true, 404: true, 405: true, 417: true, 431: true, 501: true, 505: true}

func TestBadInputs(t *testing.T) {
	overTCP(t, config{Config: origins("https://app.example")}, func(s *server) {
		auth := "Authorization: " + basic("mallory:"+passwordOf("mallory")) + "\r\n"
		inputs := badInputs(auth)
		s.open("victim", "mallory")
		s.send("bob", "mallory", "precious")
		for name, input := range inputs {
			conn := s.raw()
			go func() { // the input may exceed the kernel's buffers, and the server may stop reading early
				io.WriteString(conn, input)
				conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			s.wantHarmless(name, conn)
			conn.Close()
		}
		s.Logf("%d inputs", len(inputs))
		if n := s.held("mallory"); n != 1 {
			s.Errorf("the inbox has %d messages, want 1", n)
		}
		s.get("victim", "?after=0&wait=0")
		s.send("bob", "victim", "the server lives")
	})
}

// wantHarmless reads all answers to a hostile request and checks them.
func (s *server) wantHarmless(name string, conn net.Conn) {
	s.Helper()
	r := bufio.NewReader(conn)
	for n := 0; ; n++ {
		if _, err := r.Peek(1); err != nil {
			return // the end of the connection
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) { // or a reset in the middle of an answer
				s.Logf("%s: %v", name, err)
			}
			return
		}
		body, _ := io.ReadAll(resp.Body)
		whole := fmt.Sprint(resp.Header) + string(body)
		if strings.Contains(whole, evil) {
			s.Errorf("%s: the answer echoes the input: %s", name, whole)
		}
		code := codeOf(body)
		switch {
		case resp.StatusCode < 300: // a valid request, which the server need not refuse
		case code != "" && statuses[code] == resp.StatusCode:
		case code == "" && ofHTTP[resp.StatusCode] && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"):
		default:
			s.Errorf("%s: answer %d is %d %s", name, n, resp.StatusCode, body)
		}
	}
}

// The same requests over memory, one byte at a time.
func TestBadInputsByteForByte(t *testing.T) {
	auth := "Authorization: " + basic("mallory:"+passwordOf("mallory")) + "\r\n"
	inBubble(t, config{}, func(s *server) {
		for name, input := range badInputs(auth) {
			conn := s.raw()
			go func() {
				defer conn.Close()
				for i := range min(len(input), 2000) {
					if _, err := conn.Write([]byte{input[i]}); err != nil {
						return
					}
				}
			}()
			s.wantHarmless(name, conn)
		}
		s.post("bob", "victim", "x").wantProblem("no-such-inbox")
	})
}

// Without a server around it, the handler still answers requests that no server would
// pass on.
func TestHandlerAlone(t *testing.T) {
	s := &server{TB: t}
	h, err := inboxhttp.New(inboxhttp.Config{Store: openMemory(t, limitTTL(0)), Authenticator: testPepper})
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []http.Header{
		{"Authorization": {"Basic \x00"}}, {"Authorization": {basic("a:b")}, "Accept": {"\x00,\xff;q="}},
		{"Authorization": {basic("a:b")}, "Idempotency-Key": {"\r\n"}}, {"Origin": {"%zz"}}, {"Sec-Fetch-Mode": {"NAVIGATE"}},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, "\x00"} {
			r := httptest.NewRequest(http.MethodGet, "/inbox?wait=0&to=a", nil)
			r.Method, r.Header = method, header
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			a, err := read(t, w.Result())
			if err != nil {
				t.Fatal(err)
			}
			s.check(request{method: method, header: header}, a)
		}
	}
}
