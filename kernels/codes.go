package kernels

import (
	"encoding/binary"
	"fmt"
	"sync"
	"unsafe"
)

// Codes is a weight as quantised files store it: W[i, j] = D[i, j/32]·Code[i, j] + M[i, j/32]. Its rows are read when they
// are packed, so that a weight is nowhere in memory twice.
type Codes struct {
	N, K int
	Bits int // of a code: 4 or 8
	// Row writes row i: d and m, [K/32] IEEE halves, and the codes, K·Bits/8 bytes in their order; codes of 4 bits share a
	// byte, the low half, with the one 16 values further on. Several goroutines call it at once.
	Row func(i int, d, m []uint16, code []byte) error
}

func (c *Codes) check() error {
	switch {
	case c.Bits != 4 && c.Bits != 8:
		return fmt.Errorf("kernels: codes of %d bits, want 4 or 8", c.Bits)
	case c.N < 0 || c.K < 0 || c.K%codeBlock != 0:
		return fmt.Errorf("kernels: codes [%d, %d], want rows of a multiple of %d", c.N, c.K, codeBlock)
	case c.Row == nil:
		return fmt.Errorf("kernels: codes [%d, %d] without rows", c.N, c.K)
	}
	return nil
}

// Arena gives weights or activations that live equally long a place side by side in large pages, whose first use costs much less than
// that of as much memory in small ones. The zero value is ready; a nil *Arena gives each weight memory of its own. It may
// be used from several goroutines.
type Arena struct {
	mu   sync.Mutex
	free []byte
}

// arenaPart is how much memory is asked for at a time. What is not used of it takes addresses, not memory.
const arenaPart = 32 << 20

// bytes returns n zeros, at a multiple of a cache line.
func (a *Arena) bytes(n int) []byte {
	if a == nil || n > arenaPart/2 {
		b := make([]byte, n)
		LargePages(b)
		return b
	}
	const line = 64
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) < n {
		a.free = make([]byte, arenaPart)
		LargePages(a.free)
	}
	b := a.free[:n:n]
	a.free = a.free[min(len(a.free), (n+line-1)&^(line-1)):]
	return b
}

// F32 returns n zeros from the arena.
func (a *Arena) F32(n int) []float32 {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(a.bytes(4*n)))), n)
}

// PackCodes lays codes out for products. Its error is that of Row, or about sizes.
func PackCodes(p *Pool, c *Codes) (*Coded, error) { return (*Arena)(nil).PackCodes(p, c) }

// PackCodes is [PackCodes] into the arena's memory.
func (a *Arena) PackCodes(p *Pool, c *Codes) (*Coded, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	w := &Coded{N: c.N, K: c.K, bits: c.Bits}
	w.data = a.bytes(w.groups() * (w.K / codeBlock) * w.blockBytes())
	var (
		mu     sync.Mutex
		failed error
	)
	const grain = 16 // groups that share the memory for a row
	p.Run(w.groups(), grain, func(lo, hi int) {
		if err := w.packGroups(lo, hi, c); err != nil {
			mu.Lock()
			failed = err
			mu.Unlock()
		}
	})
	if failed != nil {
		return nil, failed
	}
	return w, nil
}

// packGroups lays out the groups [lo, hi).
func (w *Coded) packGroups(lo, hi int, c *Codes) error {
	blocks := c.K / codeBlock
	d, m, code := make([]uint16, blocks), make([]uint16, blocks), make([]byte, c.K*c.Bits/8)
	for i := lo; i < hi; i++ {
		group := w.group(i)
		for r := range min(codeRows, c.N-i*codeRows) {
			if err := c.Row(i*codeRows+r, d, m, code); err != nil {
				return err
			}
			w.setRow(group, r, d, m, code)
		}
	}
	return nil
}

// setRow lays row r of a group out: codes by fours, four bytes of 8 bits, or of 4 bits with the codes 16 further on.
func (w *Coded) setRow(group []byte, r int, d, m []uint16, code []byte) {
	le := binary.LittleEndian
	size, n := w.blockBytes(), codeBlock*w.bits/8
	for b := range d {
		part := group[b*size : (b+1)*size]
		le.PutUint16(part[2*r:], d[b])
		le.PutUint16(part[2*(codeRows+r):], m[b])
		part = part[4*codeRows+4*r:]
		for j, from := 0, code[b*n:(b+1)*n]; j < len(from); j += 4 {
			le.PutUint32(part[16*j:], le.Uint32(from[j:]))
		}
	}
}
