package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// dashboard is what the test reads of one of Grafana's.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Title, Type string
		Datasource  struct{ Type, UID string }
		GridPos     struct{ H, W, X, Y int }
		Targets     []struct{ RefID, Expr, LegendFormat string }
	}
}

// TestDashboard: Grafana finds in the dashboard what it needs, and the dashboard finds in /metrics whatever it asks for.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("../../../../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion == 0 || len(d.Panels) == 0 {
		t.Errorf("uid %q, title %q, schemaVersion %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	there := exported(t)
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables["${"+v.Name+"}"] = v.Type
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Query); v.Type == "query" && (m == nil || there[m[1]] == nil || m[2] != "instance") {
			t.Errorf("variable %s asks for %s", v.Name, v.Query)
		}
	}
	seen := map[[2]int]string{} // by place
	for i, p := range d.Panels {
		if p.ID != i+1 || p.Title == "" || p.Type == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d has id %d, title %q, type %q and %d targets", i+1, p.ID, p.Title, p.Type, len(p.Targets))
		}
		if p.Datasource.Type != "prometheus" || variables[p.Datasource.UID] != "datasource" {
			t.Errorf("%s: datasource %+v", p.Title, p.Datasource)
		}
		if g := p.GridPos; g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if o := seen[at]; o != "" {
					t.Fatalf("%s lies on %s", p.Title, o)
				}
				seen[at] = p.Title
			}
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] {
				t.Errorf("%s: target %q is there twice or has no name", p.Title, q.RefID)
			}
			refs[q.RefID] = true
			checkQuery(t, p.Title, q.Expr, q.LegendFormat, there)
		}
	}
}

var (
	selector = regexp.MustCompile(`([a-z][a-z0-9_:]*)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`(\w+)=`)
	grouping = regexp.MustCompile(`by \(([^)]*)\)`)
	legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
	gathers  = regexp.MustCompile(`\b(?:sum|max|min|avg)\b`)
)

// checkQuery checks an expression's metrics and labels against those that are exported.
func checkQuery(t *testing.T, panel, expr, shown string, there map[string][]string) {
	t.Helper()
	metrics := selector.FindAllStringSubmatch(expr, -1)
	if len(metrics) == 0 {
		t.Errorf("%s: %s asks for nothing", panel, expr)
	}
	for _, m := range metrics {
		labels, ok := there[m[1]]
		if !ok {
			t.Errorf("%s asks for %s, which /metrics lacks", panel, m[1])
			continue
		}
		labels = append(slices.Clone(labels), "instance") // which Prometheus adds
		used := group(matcher.FindAllStringSubmatch(m[2], -1))
		if !slices.Contains(used, "instance") {
			t.Errorf("%s: %s is of all instances", panel, m[0])
		}
		left := labels // after gathering
		if gathers.MatchString(expr) {
			left = nil
			for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
				left = append(left, strings.Split(g[1], ", ")...)
			}
		}
		used = append(used, left...)
		for _, l := range used {
			if !slices.Contains(labels, l) {
				t.Errorf("%s: %s has no label %s, but %q", panel, m[1], l, labels)
			}
		}
		for _, l := range group(legend.FindAllStringSubmatch(shown, -1)) {
			if !slices.Contains(left, l) {
				t.Errorf("%s shows label %s, and %s leaves %q", panel, l, expr, left)
			}
		}
	}
}

// group returns what the first group of each match holds.
func group(matches [][]string) (list []string) {
	for _, m := range matches {
		list = append(list, m[1])
	}
	return list
}

// exported returns the labels of every metric that a server has while it answers.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	g := newGate(t, Options{})
	g.want(http.StatusOK, "POST", "/v1/completions", "", completion("open"))
	r, err := http.Post(g.URL+"/v1/completions", "application/json", strings.NewReader(`{"model":"open","prompt":"The","max_tokens":400,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text := g.want(http.StatusOK, "GET", "/metrics", "", "")
	for end := time.Now().Add(10 * time.Second); !strings.Contains(text, `peft_set_sequences_running{set="open@1"} 1`); text = g.want(http.StatusOK, "GET", "/metrics", "", "") {
		if time.Now().After(end) {
			t.Fatalf("/metrics never shows the sequence that runs: %s", text)
		}
	}
	there := map[string][]string{}
	for line := range bytes.Lines([]byte(text)) {
		if m := regexp.MustCompile(`^([a-z][a-z0-9_:]*)(?:\{(.*)\})? \S+\n$`).FindStringSubmatch(string(line)); m != nil {
			there[m[1]] = append(there[m[1]], group(matcher.FindAllStringSubmatch(m[2], -1))...)
		}
	}
	return there
}
