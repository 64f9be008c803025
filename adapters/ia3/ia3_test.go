package ia3

import (
	"testing"

	"github.com/gopeft/peft/adapters/adaptertest"
)

func TestConformance(t *testing.T) {
	for _, k := range []Kind{Output, Input} {
		t.Run(k.Name(), func(t *testing.T) { adaptertest.Run(t, k) })
		if back, ok := Parse(k.Name()); !ok || back != k {
			t.Errorf("%s is read as %v", k.Name(), back)
		}
	}
	if _, ok := Parse("ia4"); ok {
		t.Error("ia4 is no kind")
	}
}
