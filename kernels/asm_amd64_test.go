//go:build !noasm

package kernels

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAVX2KeepsToAVX2 reads the generated assembly: avo gives out registers and takes instructions that only AVX-512 has,
// which no test would notice on a machine that has it.
func TestAVX2KeepsToAVX2(t *testing.T) {
	files, err := filepath.Glob("asm_*_amd64.s")
	if err != nil || len(files) == 0 {
		t.Fatalf("no generated assembly: %v", err)
	}
	newer := regexp.MustCompile(`\b([XY](1[6-9]|2\d|3[01])|Z\d+|K[0-7])\b|^\s*(VPXOR[DQ]|VPAND[DQ]|VPOR[DQ]|VPTERNLOG|VPMOV[DQW][BWD]\b|VEXTRACT[FI](32|64)|VINSERT[FI](32|64)|VMOVDQ[AU](8|16|32|64)|VSCALEF|VRNDSCALE|VPERMT2|VPERMI2|BYTE)`)
	seen := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var function string
		for s := bufio.NewScanner(f); s.Scan(); {
			line := s.Text()
			if strings.HasPrefix(line, "TEXT") {
				function = strings.Fields(line)[1]
				if checked(function) {
					seen++
				}
			}
			if checked(function) && newer.MatchString(line) {
				t.Errorf("%s needs AVX-512: %s", function, strings.TrimSpace(line))
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if seen < 20 {
		t.Errorf("%d functions found for AVX2", seen)
	}
}

// checked tells the functions that run without AVX-512.
func checked(function string) bool {
	return !strings.Contains(function, "AVX512") && !strings.Contains(function, "BF16(") && !strings.Contains(function, "VNNI(") && !strings.Contains(function, "AMX(")
}
