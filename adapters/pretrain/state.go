package pretrain

import (
	"errors"
	"io/fs"
)

// vectors returns everything that changes from step to step but lasts, in the order in which checkpoints have it. last
// holds, for each table of experts, the steps that touched its rows last, which f32 holds exactly up to 2²⁴.
func (t *trainer) vectors() (all, last [][]float32) {
	all = [][]float32{t.w.flat, t.opt.m.flat, t.opt.v.flat}
	for _, e := range t.opt.experts {
		norm, touched := t.w.experts[e.layer.block].norm, make([]float32, len(e.Last))
		for i, s := range e.Last {
			touched[i] = float32(s)
		}
		last = append(last, touched)
		all = append(all, e.table.Rows.F32, e.M, e.V, touched, norm.Mean, norm.Var)
	}
	return all, last
}

// write stores the state.
func (t *trainer) write(path string) error {
	all, _ := t.vectors()
	return writeCheckpoint(path, header{Run: t.run, Step: t.step, Seconds: t.seconds}, all...)
}

// load goes on from a stored state of the same run, if there is one.
func (t *trainer) load(path string) (resumed bool, err error) {
	all, last := t.vectors()
	h, err := readCheckpoint(path, t.run, all...)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t.step, t.seconds = h.Step, h.Seconds
	for i, e := range t.opt.experts {
		for j, s := range last[i] {
			e.Last[j] = uint32(s)
		}
		t.w.experts[e.layer.block].norm.Batches = t.step
	}
	return true, nil
}
