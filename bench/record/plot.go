package record

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Line is one curve of a plot.
type Line struct {
	Name string
	X, Y []float64
}

// Plot is a diagram of a few curves.
type Plot struct {
	X, Y       string // what the axes show
	LogX, LogY bool
	Lines      []Line
}

var colours = []color.Color{
	color.RGBA{R: 0x4c, G: 0x72, B: 0xb0, A: 0xff}, color.RGBA{R: 0xdd, G: 0x84, B: 0x52, A: 0xff},
	color.RGBA{R: 0x55, G: 0xa8, B: 0x68, A: 0xff}, color.RGBA{R: 0xc4, G: 0x4e, B: 0x52, A: 0xff},
	color.RGBA{R: 0x81, G: 0x72, B: 0xb3, A: 0xff}, color.RGBA{R: 0x93, G: 0x78, B: 0x60, A: 0xff},
}

// Save draws the plot as SVG.
func (d Plot) Save(file string) error {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = d.X, d.Y
	if d.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if d.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	for i, l := range d.Lines {
		xy := make(plotter.XYs, len(l.X))
		for j := range xy {
			xy[j] = plotter.XY{X: l.X[j], Y: l.Y[j]}
		}
		line, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return fmt.Errorf("plot %s: %w", file, err)
		}
		c := colours[i%len(colours)]
		line.Color, points.Color = c, c
		p.Add(line, points)
		if l.Name != "" {
			p.Legend.Add(l.Name, line)
		}
	}
	return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
}
