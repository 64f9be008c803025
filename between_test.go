package peft

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/registry"
)

// TestBetween: which of several sets, whose gates let a text pass, are on.
func TestBetween(t *testing.T) {
	// What is asked of a set, and whose texts its gate knows; the later, the newer.
	type set struct {
		least float64
		knows []string
	}
	for name, c := range map[string]struct {
		sets  []set
		gains map[string]float64
		want  []int // on: -1; yields to: its place; -2: its gate does not fire
	}{
		"asked of one":                      {[]set{{least: 5}}, map[string]float64{"[0]": 5}, []int{-1}},
		"too little":                        {[]set{{least: 5}}, map[string]float64{"[0]": 4.9}, []int{-2}},
		"nothing asked":                     {[]set{{}}, nil, []int{-1}},
		"each adds":                         {[]set{{least: 5}, {least: 5}}, map[string]float64{"[0]": 7, "[1]": 9, "[1 0]": 14}, []int{-1, -1}},
		"the lesser adds too little":        {[]set{{least: 5}, {least: 5}}, map[string]float64{"[0]": 7, "[1]": 9, "[1 0]": 13.9}, []int{1, -1}},
		"the third adds to the first alone": {[]set{{least: 2}, {least: 4}, {least: 3}}, map[string]float64{"[0]": 9, "[1]": 8, "[2]": 7, "[0 1]": 10, "[0 2]": 12}, []int{-1, 0, -1}},
		"the third adds too little to both": {[]set{{least: 2}, {least: 4}, {least: 3}}, map[string]float64{"[0]": 9, "[1]": 8, "[2]": 7, "[0 1]": 14, "[0 1 2]": 16}, []int{-1, -1, 0}},
		"known to the newer":                {[]set{{}, {knows: []string{"0@1"}}}, nil, []int{1, -1}},
		"unknown to the newer":              {[]set{{}, {}}, nil, []int{-1, -1}},
		"another revision is known":         {[]set{{}, {knows: []string{"0@2"}}}, nil, []int{-1, -1}},
		"each knows the other":              {[]set{{knows: []string{"1@1"}}, {knows: []string{"0@1"}}}, nil, []int{1, -1}},
		"known to one that does not fire":   {[]set{{}, {least: 5, knows: []string{"0@1"}}}, map[string]float64{"[1]": 4}, []int{-1, -2}},
		"known to one that yields":          {[]set{{}, {knows: []string{"0@1"}}, {knows: []string{"1@1"}}}, nil, []int{-1, 2, -1}},
		"what is asked comes first":         {[]set{{least: 5, knows: []string{"1@1"}}, {knows: []string{"0@1"}}}, map[string]float64{"[0]": 6}, []int{-1, 0}},
		"what gains is not kept off":        {[]set{{least: 5}, {knows: []string{"0@1"}}}, map[string]float64{"[0]": 6}, []int{-1, -1}},
	} {
		all := make([]passing, len(c.sets))
		for i, s := range c.sets {
			g := &storedGate{ref: fmt.Sprintf("%d@1", i), info: &GateInfo{}, set: &registry.Manifest{Created: time.Unix(int64(i), 0)}}
			for _, text := range s.knows {
				g.info.Negatives = append(g.info.Negatives, Negatives{Text: text})
			}
			all[i] = passing{set: &peer.Set{}, gate: g, least: s.least}
		}
		if err := between(all, func(on []int) (float64, error) {
			g, ok := c.gains[fmt.Sprint(on)]
			if !ok {
				return 0, fmt.Errorf("%v is asked", on)
			}
			return g, nil
		}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := make([]int, len(all))
		for i, p := range all {
			if got[i] = p.to; !p.fires {
				got[i] = -2
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	failed := errors.New("failed")
	if err := between([]passing{{set: &peer.Set{}, least: 1}}, func([]int) (float64, error) { return 0, failed }); !errors.Is(err, failed) {
		t.Errorf("the asking fails: %v", err)
	}
	stored, next := &storedGate{set: &registry.Manifest{}}, &storedGate{}
	if stored.older(next) >= 0 || next.older(stored) <= 0 || next.older(next) != 0 {
		t.Error("a gate that is not stored is not the newest")
	}
}
