package tune

import "github.com/gopeft/peft/adapters/peer"

// beside returns which of the sets beside the trained one are on in a turn, from 0: a part of a step's tokens that goes through the
// graph at once. With Alternate they are off in every second turn. In the others half of them are on, as the seed has it, then the
// other half, then all: so each is on in two of three, beside others that change, however few steps there are.
func (o *Options) beside(with []*peer.Set, turn int) []*peer.Set {
	if !o.Alternate {
		return with
	}
	if turn%2 == 0 {
		return nil
	}
	round, third := turn/2/3, turn/2%3
	if len(with) < 2 || third == 2 {
		return with
	}
	var p permutation
	half := p.of(len(with), o.Seed, uint64(round))
	if cut := (len(half) + 1) / 2; third == 0 {
		half = half[:cut]
	} else {
		half = half[cut:]
	}
	on := make([]*peer.Set, 0, len(half))
	for _, i := range half {
		on = append(on, with[i])
	}
	return on
}
