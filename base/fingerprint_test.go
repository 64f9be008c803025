package base_test

import (
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/kernels"
)

// TestFingerprintsStay: registries hold the fingerprints of their bases, so what a base is must not change its print.
func TestFingerprintsStay(t *testing.T) {
	is := func(b *base.Base, want string) {
		t.Helper()
		if got, err := b.Fingerprint(); err != nil || got != want {
			t.Errorf("%s: fingerprint %s, was %s: %v", b.Name, got, want, err)
		}
	}
	b, err := base.Open(base.Builtin, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	is(b, "c770b086c052067815e0847ee03fd4acbcf74c840e9605996b6280323432e760")
	is(smollm(t, kernels.Stored), "48b830c3456bb30301d39cb05b241195a80168cd29100796f5d6b58b401e179e")
}
