package peft

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// plotLosses draws a training's loss curve as SVG into the registry's directory and returns the file's path.
func (e *Engine) plotLosses(name string, rev int, tr *Training) (string, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s@%d", name, rev)
	p.X.Label.Text, p.Y.Label.Text = "step", "loss, nats a token"
	p.Add(plotter.NewGrid())
	var train, held plotter.XYs
	for _, l := range tr.Losses {
		train = append(train, plotter.XY{X: float64(l.Step), Y: l.Train})
		if l.HeldOut > 0 {
			held = append(held, plotter.XY{X: float64(l.Step), Y: l.HeldOut})
		}
	}
	for _, c := range []struct {
		name  string
		xy    plotter.XYs
		color color.Color
	}{{"training", train, color.RGBA{R: 0x4c, G: 0x72, B: 0xb0, A: 0xff}}, {"held out", held, color.RGBA{R: 0xdd, G: 0x84, B: 0x52, A: 0xff}}} {
		if len(c.xy) == 0 {
			continue
		}
		line, err := plotter.NewLine(c.xy)
		if err != nil {
			return "", fmt.Errorf("peft: plot: %w", err)
		}
		line.Color = c.color
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	p.Legend.Top = true
	file := filepath.Join(e.opt.Registry, "plots", fmt.Sprintf("%s@%d.svg", name, rev))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", fmt.Errorf("peft: plot: %w", err)
	}
	if err := p.Save(16*vg.Centimeter, 10*vg.Centimeter, file); err != nil {
		return "", fmt.Errorf("peft: plot: %w", err)
	}
	return file, nil
}

// removePlots deletes the loss curves of all revisions of a set.
func (e *Engine) removePlots(name string) error {
	files, err := filepath.Glob(filepath.Join(e.opt.Registry, "plots", name+"@*.svg"))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}
