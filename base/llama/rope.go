package llama

import "math"

// ropeDivisors is the tensor of a GGUF file that divides the rotary frequencies.
const ropeDivisors = "rope_freqs.weight"

// frequencies returns the rotary frequency of each pair of a head's dimensions: θ^(-2i/d) (arXiv 2104.09864, eq. 15).
func (c *Config) frequencies() []float64 {
	f := make([]float64, c.HeadDim/2)
	for i := range f {
		f[i] = math.Pow(float64(c.RopeTheta), -2*float64(i)/float64(c.HeadDim))
		switch {
		case c.RopeDivisors != nil:
			f[i] /= float64(c.RopeDivisors[i])
		case c.RopeScaling != nil:
			f[i] = c.RopeScaling.scale(f[i])
		}
	}
	return f
}

// divisors returns what a GGUF file divides the rotary frequencies by; nil for nothing.
func (c *Config) divisors() []float32 {
	if c.RopeScaling == nil {
		return c.RopeDivisors
	}
	plain := *c
	plain.RopeScaling = nil
	d, scaled := make([]float32, c.HeadDim/2), c.frequencies()
	for i, f := range plain.frequencies() {
		d[i] = float32(f / scaled[i])
	}
	return d
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
