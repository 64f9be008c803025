package peft

import "testing"

func TestCutter(t *testing.T) {
	for _, c := range []struct {
		pieces []string
		stops  []string
		want   string
		hit    bool
	}{
		{[]string{"ab", "cd", "ef"}, nil, "abcdef", false},
		{[]string{"ab", "cd", "ef"}, []string{"de"}, "abc", true},
		{[]string{"ab", "cd", "ef"}, []string{"dx"}, "abcdef", false},
		{[]string{"ab", "cd", "ef"}, []string{"fg"}, "abcdef", false},
		{[]string{"a", "a", "a", "b"}, []string{"aab"}, "a", true},
		{[]string{"xyz"}, []string{"z", "y"}, "x", true},
	} {
		k, err := newCutter(c.stops)
		if err != nil {
			t.Fatal(err)
		}
		got, hit := "", false
		for _, p := range c.pieces {
			var s string
			s, hit = k.add(p)
			if got += s; hit {
				break
			}
		}
		got += k.flush()
		if got != c.want || k.text.String() != c.want || hit != c.hit {
			t.Errorf("%q with %q: %q, %q, %v", c.pieces, c.stops, got, k.text.String(), hit)
		}
	}
	if _, err := newCutter([]string{"a", ""}); err == nil {
		t.Error("an empty stop string was taken")
	}
}
