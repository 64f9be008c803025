package server

import (
	"net/http"

	"github.com/gopeft/peft/adapters/peer"
)

// widest is how many fields a side of a drawn grid has, at most.
const widest = 64

// grid is how often requests selected the cells of one block, row by row.
type grid struct {
	Block  int      `json:"block"`
	Side   int      `json:"side"`  // fields of one
	Cells  int      `json:"cells"` // of the whole grid
	Rows   uint64   `json:"rows"`  // tokens that were routed
	Counts []uint64 `json:"counts"`
}

func (s *Server) usage(w http.ResponseWriter, _ *http.Request) {
	grids := []grid{}
	for _, l := range s.batch.Usage() {
		grids = append(grids, drawn(l))
	}
	w.Header().Set("Cache-Control", "no-store")
	write(w, http.StatusOK, map[string]any{"grids": grids})
}

// drawn sums the cells of a grid that is wider than what is drawn.
func drawn(l peer.LayerUsage) grid {
	n := min(l.SubKeys, widest)
	g := grid{Block: l.Block, Side: n, Cells: len(l.Hits), Rows: l.Rows, Counts: make([]uint64, n*n)}
	for c, hits := range l.Hits {
		i, j := c/l.SubKeys, c%l.SubKeys
		g.Counts[i*n/l.SubKeys*n+j*n/l.SubKeys] += hits
	}
	return g
}
