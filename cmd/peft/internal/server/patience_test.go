package server

import (
	"context"
	"testing"
	"time"
)

func TestYield(t *testing.T) {
	took := func(ctx context.Context, worked time.Duration, busy func() bool) time.Duration {
		began := time.Now()
		yield(ctx, worked, busy)
		return time.Since(began)
	}
	always := func() bool { return true }
	if d := took(t.Context(), time.Second, func() bool { return false }); d > 5*time.Millisecond {
		t.Errorf("waited %v for nobody", d)
	}
	if d := took(t.Context(), 20*time.Millisecond, always); d < 180*time.Millisecond || d > 2*time.Second {
		t.Errorf("waited %v after 20 ms of work beside requests that never end, want nine times as long", d)
	}
	left := 3
	if d := took(t.Context(), time.Minute, func() bool { left--; return left > 0 }); d > 2*time.Second {
		t.Errorf("waited %v for a request that had ended", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if d := took(ctx, time.Minute, always); d > 2*time.Second {
		t.Errorf("waited %v when it was cancelled", d)
	}
}
