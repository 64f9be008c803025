package peft

import (
	"cmp"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
)

// passing is a set whose gate lets a text pass by score and distance.
type passing struct {
	set   *peer.Set
	gate  *storedGate
	least float64 // nats by which the gate asks the set to make the text likelier; 0 where it asks nothing
	gain  float64 // by how many it does, where that is asked
	fires bool    // the gate fires: the set gains as much as is asked
	to    int     // which of the sets is on in the place of one that fires, or -1
}

// between decides which of the sets whose gates let a text pass are on: those that fire and do not yield. gain returns by how many
// nats some of them, by their places, make the text likelier together.
//
// A set that is asked must gain as much as its gate wants by itself, and again beside those that are on already and gain more:
// else it says nothing that they do not say. One that is not asked comes after those, the newest first, and yields to a set
// whose gate was set against its text: that gate fires on one in a hundred of such texts, and it cannot know the newer one's. Of
// those that cannot be on together the first is on.
func between(all []passing, gain func(on []int) (float64, error)) (err error) {
	var order []int
	for i := range all {
		p := &all[i]
		p.to = -1
		if p.least > 0 {
			if p.gain, err = gain([]int{i}); err != nil {
				return err
			}
		}
		if p.fires = p.gain >= p.least; p.fires {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(all[b].gain, all[a].gain), all[b].gate.older(all[a].gate))
	})
	var on []int
	var gained float64 // by those that are on
	for _, i := range order {
		p := &all[i]
		at := slices.IndexFunc(on, func(j int) bool {
			return all[j].set.Excludes(p.set) || p.least == 0 && all[j].gate.info.knows(p.gate.ref)
		})
		if at >= 0 {
			p.to = on[at]
			continue
		}
		more := p.gain
		if p.least > 0 && len(on) > 0 {
			both, err := gain(append(slices.Clone(on), i))
			if err != nil {
				return err
			}
			if more = both - gained; more < p.least {
				p.to = on[0]
				continue
			}
		}
		on, gained = append(on, i), gained+more
	}
	return nil
}

// isOn reports whether the set is on.
func (p *passing) isOn() bool { return p.fires && p.to < 0 }
