package exchange

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopeft/peft/base/llama"
)

// allLinear is PEFT's word for every linear layer but the head.
const allLinear = "all-linear"

// names is a list of module names, or one regular expression; PEFT's files have either.
type names struct {
	list  []string
	whole string // the expression
	re    *regex
}

func (n *names) UnmarshalJSON(b []byte) error {
	*n = names{}
	if json.Unmarshal(b, &n.whole) != nil {
		return json.Unmarshal(b, &n.list)
	}
	var err error
	if n.whole != "" {
		n.re, err = compile(`\A(?:` + n.whole + `)\z`)
	}
	return err
}

func (n *names) empty() bool { return n.whole == "" && len(n.list) == 0 }

// match says whether a module is meant: by its name or the end of it after a dot, or by the expression, which must match
// all of the name.
func (n *names) match(module string) (bool, error) {
	if n.re != nil {
		g, err := n.re.match(module)
		return g != nil, err
	}
	return slices.ContainsFunc(n.list, func(s string) bool { return module == s || strings.HasSuffix(module, "."+s) }), nil
}

// layerLists are expressions that tell the module which holds the blocks; they find a block's number in a module's name.
type layerLists []*regex

func (l *layerLists) UnmarshalJSON(b []byte) error {
	var n names
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	if n.whole != "" {
		n.list = []string{n.whole}
	}
	*l = nil
	for _, s := range n.list {
		re, err := compile(`\A(?:(?:^|.*?\.)` + s + `\.(\d+)\.)`)
		if err != nil {
			return err
		}
		*l = append(*l, re)
	}
	return nil
}

// block returns the number that stands in a module's name, -1 where there is none.
func (l layerLists) block(module string) (int, error) {
	if len(l) == 0 { // the list may have any name
		parts := strings.Split(module, ".")
		for _, p := range parts[min(2, len(parts)):] {
			if n, err := strconv.Atoi(p); err == nil {
				return n, nil
			}
		}
		return -1, nil
	}
	for _, re := range l {
		g, err := re.match(module)
		if err != nil {
			return 0, err
		}
		if g == nil {
			continue
		}
		if n, err := strconv.Atoi(g[len(g)-1]); err == nil {
			return n, nil
		}
		break
	}
	return -1, nil
}

func (c *config) allLinear() bool { return strings.EqualFold(c.Target.whole, allLinear) }

// targets says whether an adapter changes a block's linear layer, by the rules of PEFT (check_target_module_exists in its tuners).
func (c *config) targets(module string) (bool, error) {
	if out, err := c.Exclude.match(module); out || err != nil {
		return false, err
	}
	if c.allLinear() {
		return true, nil
	}
	in, err := c.Target.match(module)
	if !in || err != nil || len(c.Blocks) == 0 {
		return in, err
	}
	block, err := c.BlockLists.block(module)
	return slices.Contains(c.Blocks, block), err
}

// pattern gives a value to the modules that its expression matches: the name, or the end of it after a dot.
type pattern struct {
	re    *regex
	value float64
}

// patterns keep their order in the file: the first that matches counts.
type patterns []pattern

func (p *patterns) UnmarshalJSON(b []byte) error {
	*p = nil
	dec := json.NewDecoder(bytes.NewReader(b))
	t, err := dec.Token()
	if err != nil || t == nil { // null
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%.40s, want an object of numbers", b)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var e pattern
		if err := dec.Decode(&e.value); err != nil {
			return err
		}
		if e.re, err = compile(`\A(?:.*\.)?(?:` + fmt.Sprint(key) + `)\z`); err != nil {
			return err
		}
		*p = append(*p, e)
	}
	return nil
}

func (p patterns) value(module string, otherwise float64) (float64, error) {
	for _, e := range p {
		if g, err := e.re.match(module); g != nil || err != nil {
			return e.value, err
		}
	}
	return otherwise, nil
}

// layers lists the layers of a base that the configuration names.
func (c *config) layers(base *llama.Config) ([]layer, error) {
	var list []layer
	all := layersOf(base)
	for _, l := range all {
		in, err := c.targets(l.name)
		if err != nil {
			return nil, err
		}
		if in {
			list = append(list, l)
		}
	}
	for _, other := range []string{"lm_head", "model.embed_tokens", "model.embed_positions"} {
		name, ok := base.Family.HFName(other + weightSuffix)
		if name = strings.TrimSuffix(name, weightSuffix); !ok || c.allLinear() {
			continue
		}
		if in, err := c.targets(name); in || err != nil {
			return nil, fmt.Errorf("target_modules name %s, where adapters cannot work here: %w", name, ErrUnsupported)
		}
	}
	if len(list) == 0 {
		var names []string
		for _, l := range all[:len(all)/base.Layers] {
			names = append(names, l.name)
		}
		return nil, fmt.Errorf("target_modules match none of the base's modules, which are in each of %d blocks %s: %w", base.Layers, strings.Join(names, ", "), ErrMismatch)
	}
	return list, nil
}
