package llamatest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/safetensors"
)

// Open returns the configuration and the weights of a Hugging Face directory, which stays open for the test.
func Open(t testing.TB, dir string) (llama.Config, llama.Source) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := llama.ConfigFromHF(config)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, llama.FromSafetensors(f, c)
}
