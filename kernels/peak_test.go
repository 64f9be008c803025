package kernels

import "testing"

func TestPeaks(t *testing.T) {
	each(t, func(t *testing.T) {
		if got := PeakF32(0); (got > 0) != (Active() != Generic) {
			t.Errorf("f32 peak %v of %v", got, Active())
		}
		if got := PeakBF16(0); (got > 0) != HasBF16() {
			t.Errorf("bf16 peak %v, bf16 in hardware %v", got, HasBF16())
		}
		if got := PeakInt8(0); (got > 0) != HasVNNI() {
			t.Errorf("int8 peak %v, codes in hardware %v", got, HasVNNI())
		}
	})
	if got := ReadBandwidth(0); got <= 0 {
		t.Errorf("read bandwidth %v", got)
	}
}
