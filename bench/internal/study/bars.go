package study

import (
	"fmt"
	"image/color"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Bar is one value for each name below the axis.
type Bar struct {
	Name   string
	Values []float64
}

var colours = []color.Color{color.RGBA{R: 0x4c, G: 0x72, B: 0xb0, A: 0xff}, color.RGBA{R: 0xdd, G: 0x84, B: 0x52, A: 0xff},
	color.RGBA{R: 0x55, G: 0xa8, B: 0x68, A: 0xff}, color.RGBA{R: 0xc4, G: 0x4e, B: 0x52, A: 0xff}}

// Bars draws groups of bars beside the page, one group for each name.
func (s *Study) Bars(file, axis string, names []string, bars []Bar) error {
	p := plot.New()
	p.Y.Label.Text, p.Y.Min = axis, 0
	p.Legend.Top = true
	p.NominalX(names...)
	width := 12 * vg.Centimeter / vg.Length(len(names)*(len(bars)+1))
	for i, b := range bars {
		c, err := plotter.NewBarChart(plotter.Values(b.Values), width)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		c.Color, c.LineStyle.Width = colours[i%len(colours)], 0
		c.Offset = width * vg.Length(2*i-len(bars)+1) / 2
		p.Add(c)
		p.Legend.Add(b.Name, c)
		for _, v := range b.Values {
			p.Y.Max = max(p.Y.Max, 1.2*v) // room for the legend
		}
	}
	if err := p.Save(16*vg.Centimeter, 10*vg.Centimeter, filepath.Join(s.Out, file)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
