package peer

import (
	"bytes"
	"io"
)

// Parts is a stored set in memory, by the names of its parts.
type Parts map[string]*bytes.Buffer

// Part begins a part; it is for Encode.
func (p Parts) Part(name string) (io.Writer, error) {
	p[name] = new(bytes.Buffer)
	return p[name], nil
}

// Open is for Decode.
func (p Parts) Open(name string) (io.Reader, error) {
	if b := p[name]; b != nil {
		return bytes.NewReader(b.Bytes()), nil
	}
	return nil, nil
}
