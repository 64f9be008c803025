package main

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

var colours = []color.Color{color.RGBA{R: 0x4c, G: 0x72, B: 0xb0, A: 0xff}, color.RGBA{R: 0xdd, G: 0x84, B: 0x52, A: 0xff},
	color.RGBA{R: 0x55, G: 0xa8, B: 0x68, A: 0xff}, color.RGBA{R: 0xc4, G: 0x4e, B: 0x52, A: 0xff}}

// plotLearned draws how far each method lowers the NLL of each domain.
func plotLearned(file string, methods []method, drops map[string][]float64) error {
	p := plot.New()
	p.Y.Label.Text = "drop of held-out NLL, nats a token"
	p.Legend.Top = true
	width := vg.Points(14)
	for i, m := range methods {
		bars, err := plotter.NewBarChart(plotter.Values(drops[m.title]), width)
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
		bars.Color, bars.LineStyle.Width = colours[i], 0
		bars.Offset = width * vg.Length(i-len(methods)/2)
		p.Add(bars)
		p.Legend.Add(m.title, bars)
	}
	p.NominalX(domainNames()...)
	return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
}

// line is a curve: one value before anything is learned, and one after each domain.
type line struct {
	name   string
	values []float64
}

// plotLines draws changes of NLL while one domain after the other is learned.
func plotLines(file string, all []line) error {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "learned last", "NLL against the base, nats a token"
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	for i, l := range all {
		var xy plotter.XYs
		for x, y := range l.values {
			xy = append(xy, plotter.XY{X: float64(x), Y: y})
		}
		c, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
		c.Color, points.Color = colours[i], colours[i]
		p.Add(c, points)
		p.Legend.Add(l.name, c)
	}
	p.NominalX(append([]string{"nothing"}, domainNames()...)...)
	return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
}
