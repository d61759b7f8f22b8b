package jsontext

// AppendString appends text as a JSON string. The text must be valid UTF-8.
func AppendString[T string | []byte](to []byte, text T) []byte {
	to = append(to, '"')
	to = AppendEscaped(to, text)
	return append(to, '"')
}

// AppendEscaped appends text, escaped for a JSON string but without the quotes. It
// appends at most six bytes for each byte of text.
func AppendEscaped[T string | []byte](to []byte, text T) []byte {
	const hex = "0123456789abcdef"
	plain := 0 // start of the pending text without escapes
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		to = append(to, text[plain:i]...)
		plain = i + 1
		switch c {
		case '"', '\\':
			to = append(to, '\\', c)
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(to, text[plain:]...)
}

// EscapedSize returns the number of bytes that AppendEscaped would append.
func EscapedSize(text []byte) int {
	size := len(text)
	for _, c := range text {
		switch {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t':
			size++
		case c < ' ':
			size += 5
		}
	}
	return size
}
