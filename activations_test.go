package peft_test

import (
	"math"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/kernels"
)

// TestActivations: products with activations of 8 bits have other bits and nearly the same perplexity.
func TestActivations(t *testing.T) {
	if _, err := peft.Open(peft.Options{Registry: t.TempDir(), Activations: 4}); err == nil {
		t.Error("activations of 4 bits are accepted")
	}
	of := func(bits int) (*peft.EvalResult, bool) {
		e := openWith(t, peft.Options{Activations: bits})
		b, err := e.Base()
		if err != nil {
			t.Fatal(err)
		}
		return eval(t, e), b.Model.Coded()
	}
	exact, coded := of(0)
	rough, _ := of(8)
	if d := math.Abs(rough.NLL - exact.NLL); d > 0.02 {
		t.Errorf("%v nats a token with activations of 8 bits, %v with 16", rough.NLL, exact.NLL)
	}
	if coded && kernels.HasVNNI() && rough.LogitsSHA256 == exact.LogitsSHA256 {
		t.Error("activations of 8 bits change nothing")
	}
}
