package llama

import "math"

// frequencies returns the rotary frequency of each pair of a head's dimensions: θ^(-2i/d) (arXiv 2104.09864, eq. 15). A
// GGUF file gives divisors of them (rope_freqs.weight) instead of the scaling's parameters.
func (c *Config) frequencies(divisors []float32) []float64 {
	f := make([]float64, c.HeadDim/2)
	for i := range f {
		f[i] = math.Pow(float64(c.RopeTheta), -2*float64(i)/float64(c.HeadDim))
		switch {
		case divisors != nil:
			f[i] /= float64(divisors[i])
		case c.RopeScaling != nil:
			f[i] = c.RopeScaling.scale(f[i])
		}
	}
	return f
}

// scale divides low frequencies by Factor, leaves high ones, and blends between.
func (s *RopeScaling) scale(f float64) float64 {
	wave, orig := 2*math.Pi/f, float64(s.OriginalMax)
	switch {
	case wave < orig/float64(s.HighFreq):
		return f
	case wave > orig/float64(s.LowFreq):
		return f / float64(s.Factor)
	}
	mix := (orig/wave - float64(s.LowFreq)) / float64(s.HighFreq-s.LowFreq)
	return (1-mix)*f/float64(s.Factor) + mix*f
}

// rotations fills cosine and sine for positions [0, n).
func rotations(freq []float64, n int) (cos, sin []float32) {
	cos, sin = make([]float32, n*len(freq)), make([]float32, n*len(freq))
	for p := range n {
		for i, f := range freq {
			a := float64(p) * f
			cos[p*len(freq)+i], sin[p*len(freq)+i] = float32(math.Cos(a)), float32(math.Sin(a))
		}
	}
	return cos, sin
}
