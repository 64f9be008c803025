package main

import (
	"fmt"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// perplexity returns the mean over seeds and the standard deviation.
func perplexity(seeds []result) (mean, std float64) {
	for _, r := range seeds {
		mean += r.Perplexity / float64(len(seeds))
	}
	for _, r := range seeds {
		std += (r.Perplexity - mean) * (r.Perplexity - mean)
	}
	if len(seeds) > 1 {
		std = math.Sqrt(std / float64(len(seeds)-1))
	}
	return mean, std
}

// table returns the group's part of the page.
func (g *group) table(plotFile string) string {
	var b strings.Builder
	first := g.models[0][0]
	fmt.Fprintf(&b, "\n### %s, shape %s\n\n%d steps of %d tokens, %d in all, of a text of %d; measured on %d; seeds: %d.\n\n", map[string]string{
		"variants": "Equal FLOPs a token", "experts": "More experts, heads and k fixed"}[g.experiment], g.shape,
		first.Steps, first.BatchTokens, first.SeenTokens, first.TrainTokens, first.HeldOutTokens, len(g.models[0]))
	b.WriteString("| model | experts a layer | parameters | active | MFLOP a token | perplexity | tokens/s | experts used | KL from uniform |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, seeds := range g.models {
		r := seeds[0]
		mean, std := perplexity(seeds)
		ppl := fmt.Sprintf("%.3f", mean)
		if len(seeds) > 1 {
			ppl += fmt.Sprintf(" ± %.3f", std)
		}
		experts, used, kl := "", "", ""
		if r.Experts > 0 {
			experts = strconv.Itoa(r.Experts)
		}
		if n := float64(len(r.Usage)); n > 0 {
			var u, k float64
			for _, l := range r.Usage {
				u, k = u+l.Used/n, k+l.KL/n
			}
			used, kl = fmt.Sprintf("%.1f %%", 100*u), fmt.Sprintf("%.3f", k)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %.3f | %s | %.0f | %s | %s |\n", r.Model, experts, r.Parameters, r.ActiveParameters, float64(r.FLOPs)/1e6, ppl, r.TokensPerSecond, used, kl)
	}
	fmt.Fprintf(&b, "\n![%s](%s)\n", g.experiment, plotFile)
	return b.String()
}

var colours = []color.Color{color.RGBA{R: 0x4c, G: 0x72, B: 0xb0, A: 0xff}, color.RGBA{R: 0xdd, G: 0x84, B: 0x52, A: 0xff},
	color.RGBA{R: 0x55, G: 0xa8, B: 0x68, A: 0xff}, color.RGBA{R: 0xc4, G: 0x4e, B: 0x52, A: 0xff}}

// plot draws held-out perplexity: of variants over the tokens seen, of the first seed; of experts over their number.
func (g *group) plot(file string) error {
	p := plot.New()
	p.Y.Label.Text = "held-out perplexity"
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	add := func(name string, xy plotter.XYs, c color.Color) error {
		line, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
		line.Color, points.Color = c, c
		p.Add(line, points)
		p.Legend.Add(name, line)
		return nil
	}
	if g.experiment == "experts" {
		p.X.Label.Text = "log₂ of the experts a layer"
		var xy plotter.XYs
		for _, seeds := range g.models {
			mean, _ := perplexity(seeds)
			xy = append(xy, plotter.XY{X: math.Log2(float64(seeds[0].Experts)), Y: mean})
		}
		if err := add("PEER", xy, colours[1]); err != nil {
			return err
		}
		return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
	}
	p.X.Label.Text = "tokens seen"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	for i, seeds := range g.models {
		var xy plotter.XYs
		for _, pt := range seeds[0].Curve {
			xy = append(xy, plotter.XY{X: float64(pt.Tokens), Y: pt.Perplexity})
		}
		if err := add(seeds[0].Model, xy, colours[i%len(colours)]); err != nil {
			return err
		}
	}
	return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
}
