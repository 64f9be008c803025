package peft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gopeft/peft/registry"
)

// Namespaces of the registry.
const (
	nsSets        = "sets"
	nsRouters     = "routers"
	nsCheckpoints = "checkpoints"
)

// SetInfo describes one revision of an expert set.
type SetInfo struct {
	Name         string      `json:"name"`
	Revision     int         `json:"revision"`
	Parent       int         `json:"parent"`
	Created      time.Time   `json:"created"`
	Bytes        int64       `json:"bytes"`
	Kind         string      `json:"kind"`
	Experts      int         `json:"experts"`             // over all layers
	Layers       []int       `json:"layers"`              // blocks with experts of the set
	Sites        []string    `json:"sites,omitempty"`     // where in a block; empty: beside the feed-forward layer
	AlwaysOn     bool        `json:"always_on,omitempty"` // whether the experts are in no cells
	Base         string      `json:"base"`                // name of the base it was made for
	Fingerprint  string      `json:"base_fingerprint"`
	RouterSHA256 string      `json:"router_sha256"`
	Source       []string    `json:"source,omitempty"`     // files it was placed or trained from
	Training     *Training   `json:"training,omitempty"`   // nil for a set that was never trained
	Gate         *GateInfo   `json:"gate,omitempty"`       // nil for a set that --auto does not know
	Forgetting   *Forgetting `json:"forgetting,omitempty"` // what the revision did to other text; nil where it was not measured
	Newer        []FireRate  `json:"newer,omitempty"`      // from Show: how often its gate fires on the text of sets that were gated later
}

// setRecord is the part of SetInfo that the manifest keeps in its Meta.
type setRecord struct {
	Kind         string      `json:"kind"`
	Experts      int         `json:"experts"`
	Layers       []int       `json:"layers"`
	Sites        []string    `json:"sites,omitempty"`
	AlwaysOn     bool        `json:"always_on,omitempty"`
	Base         string      `json:"base"`
	Fingerprint  string      `json:"base_fingerprint"`
	RouterSHA256 string      `json:"router_sha256"`
	Source       []string    `json:"source,omitempty"`
	Training     *Training   `json:"training,omitempty"`
	Gate         *GateInfo   `json:"gate,omitempty"`
	Forgetting   *Forgetting `json:"forgetting,omitempty"`
}

// Training is the record of the run that made a revision.
type Training struct {
	Steps        int          `json:"steps"`
	Tokens       int          `json:"tokens"`
	LearningRate float64      `json:"learning_rate"`
	Ratio        float64      `json:"lr_ratio,omitempty"` // see Optimiser
	Beta1        float64      `json:"beta1,omitempty"`    // likewise
	Seed         uint64       `json:"seed"`
	SeqLen       int          `json:"seq_len"`
	BatchTokens  int          `json:"batch_tokens"`
	Precision    string       `json:"precision"`
	Seconds      float64      `json:"seconds"`
	TokensPerSec float64      `json:"train_tokens_per_second"`
	With         []string     `json:"with,omitempty"` // sets that were on beside it
	Before       Perplexities `json:"before"`
	After        Perplexities `json:"after"`
	Kept         float64      `json:"kept,omitempty"` // share of the experts that pruning left; 0 for all
	Losses       []LossPoint  `json:"losses,omitempty"`
}

// Perplexities are those of the held-out part of a set's own text and of the background, with the set on.
type Perplexities struct {
	Target     float64 `json:"target"`
	Background float64 `json:"background"`
}

// LossPoint is one point of a loss curve, in nats a trained token. HeldOut is 0 where it was not measured.
type LossPoint struct {
	Step    int     `json:"step"`
	Train   float64 `json:"train"`
	HeldOut float64 `json:"held_out,omitempty"`
}

func infoOf(m *registry.Manifest) (*SetInfo, error) {
	var r setRecord
	if err := json.Unmarshal(m.Meta, &r); err != nil {
		return nil, fmt.Errorf("peft: record of %s@%d: %w: %w", m.Name, m.Revision, registry.ErrCorrupt, err)
	}
	return &SetInfo{
		Name: m.Name, Revision: m.Revision, Parent: m.Parent, Created: m.Created, Bytes: m.Size(),
		Kind: r.Kind, Experts: r.Experts, Layers: r.Layers, Sites: r.Sites, AlwaysOn: r.AlwaysOn, Base: r.Base, Fingerprint: r.Fingerprint,
		RouterSHA256: r.RouterSHA256, Source: r.Source, Training: r.Training, Gate: r.Gate, Forgetting: r.Forgetting,
	}, nil
}

// List returns the current revision of every set, in order of name.
func (e *Engine) List() ([]*SetInfo, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	names := s.Names(nsSets)
	infos := make([]*SetInfo, 0, len(names))
	for _, n := range names {
		m, err := s.Manifest(nsSets, n, 0)
		if err != nil {
			return nil, err
		}
		info, err := infoOf(m)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Show returns one set, named as "name" or "name@revision".
func (e *Engine) Show(ref string) (*SetInfo, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	_, info, err := findInfo(s, ref)
	if err != nil {
		return nil, err
	}
	info.Newer, err = newerRates(s, info)
	return info, err
}

// findInfo is findSet with the revision's record.
func findInfo(s *registry.Snapshot, ref string) (*registry.Manifest, *SetInfo, error) {
	m, err := findSet(s, ref)
	if err != nil {
		return nil, nil, err
	}
	info, err := infoOf(m)
	return m, info, err
}

// findSet returns the manifest of "name" or "name@revision"; an unknown one gets an error that lists what there is.
func findSet(s *registry.Snapshot, ref string) (*registry.Manifest, error) {
	name, rev, err := registry.ParseRef(ref)
	if err != nil {
		return nil, err
	}
	m, err := s.Manifest(nsSets, name, rev)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, fmt.Errorf("expert set %s: %w; see peft list", ref, registry.ErrNotFound) // no names: the server passes it on to those who see some sets only
	}
	return m, err
}

// History returns all revisions of a set, the oldest first.
func (e *Engine) History(name string) ([]*SetInfo, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	if _, err := findSet(s, name); err != nil {
		return nil, err
	}
	all, err := s.History(nsSets, name)
	if err != nil {
		return nil, err
	}
	infos := make([]*SetInfo, len(all))
	for i, m := range all {
		if infos[i], err = infoOf(m); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// Rollback makes an earlier revision of a set the current one. With revision 0 it goes to the current one's parent.
func (e *Engine) Rollback(ctx context.Context, name string, revision int) (*SetInfo, error) {
	release, err := e.claims.take(name, "rollback")
	if err != nil {
		return nil, err
	}
	defer release()
	if revision == 0 {
		now, err := e.Show(name)
		if err != nil {
			return nil, err
		}
		if revision = now.Parent; revision == 0 {
			return nil, fmt.Errorf("peft: roll back %s: revision %d is its first: %w", name, now.Revision, registry.ErrNotFound)
		}
	}
	m, err := e.reg.Rollback(ctx, nsSets, name, revision)
	if err != nil {
		return nil, err
	}
	return infoOf(m)
}

// Remove deletes a set with all its revisions, its loss curves and the checkpoint of an interrupted training, which may be
// all there is of it.
func (e *Engine) Remove(ctx context.Context, name string) error {
	if err := registry.CheckName(name); err != nil {
		return err
	}
	release, err := e.claims.take(name, "remove")
	if err != nil {
		return err
	}
	defer release()
	unfinished := e.reg.Remove(ctx, nsCheckpoints, name)
	if unfinished != nil && !errors.Is(unfinished, registry.ErrNotFound) {
		return unfinished
	}
	if _, err := e.Show(name); err != nil {
		if unfinished == nil && errors.Is(err, registry.ErrNotFound) {
			return nil
		}
		return err
	}
	return errors.Join(e.reg.Remove(ctx, nsSets, name), e.removePlots(name))
}
