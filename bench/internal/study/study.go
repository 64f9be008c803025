// Package study is what the experiments share that train for a long time: results that are kept unit by unit, registries
// that begin with the same router, LoRA by Hugging Face PEFT on the same tokens, and a section of a page each.
package study

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/record"
)

// Main runs a study's program until its time is over, it is done or interrupted, and ends the process with 1 after an error.
func Main(name string, run func(ctx context.Context) error) {
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	switch {
	case errors.Is(err, record.ErrEnough):
		fmt.Println(err)
	case err != nil:
		log.Fatal(name, ": ", err)
	}
}

// Study is one experiment. Each of its units is stored when it is done, and not done again.
type Study struct {
	Base    string // model reference
	Work    string // directory of results, registries and adapters
	Out     string // directory of the figures and the page
	threads int    // 0 for one a processor
	only    string // what is done: sets, lora, or all when empty
	name    string
	end     time.Time
	lora    lora
	saved   saved
}

// saved is the file of results.
type saved struct {
	Machine  string                     `json:"machine"`
	Base     string                     `json:"base"`
	Settings json.RawMessage            `json:"settings"`
	Units    map[string]json.RawMessage `json:"units"`
}

// Flags adds those that all studies have; the study is complete after Open.
func Flags(f *flag.FlagSet, name string) *Study {
	s := &Study{name: name}
	f.StringVar(&s.Base, "base", "builtin", "the base `REF`")
	f.StringVar(&s.Work, "work", "", "`DIR` that keeps results, registries and adapters")
	f.StringVar(&s.Out, "out", "docs", "`DIR` to write figures and the page's section to")
	f.StringVar(&s.only, "only", "", "do the units of `WHAT` alone: sets or lora")
	f.IntVar(&s.threads, "threads", 0, "that compute; 0 for one a processor")
	f.StringVar(&s.lora.python, "python", "", "the Python `PROGRAM` with what bench/peers/requirements.txt names; empty leaves LoRA out")
	f.Func("for", "begin no further unit after this `TIME`, such as 4m", func(v string) error {
		d, err := time.ParseDuration(v)
		s.end = time.Now().Add(d)
		return err
	})
	return s
}

// Open reads the results there are. Results of other settings or another base are an error.
func (s *Study) Open(settings any) error {
	if s.Work == "" {
		return errors.New("-work is needed")
	}
	if s.only != "" && s.only != "sets" && s.only != "lora" {
		return fmt.Errorf("-only %q: want sets or lora", s.only)
	}
	if err := os.MkdirAll(s.Work, 0o755); err != nil {
		return err
	}
	want, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	s.saved = saved{Base: filepath.Base(s.Base), Settings: want, Units: map[string]json.RawMessage{}}
	s.saved.Machine = record.Machine()
	b, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var old saved
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("%s: %w", s.file(), err)
	}
	var x, y any
	if err := errors.Join(json.Unmarshal(old.Settings, &x), json.Unmarshal(want, &y)); err != nil {
		return fmt.Errorf("%s: %w", s.file(), err)
	}
	if old.Base != s.saved.Base || !reflect.DeepEqual(x, y) {
		return fmt.Errorf("%s has results of base %s with settings %s; use another -work", s.file(), old.Base, old.Settings)
	}
	s.saved.Units = old.Units
	return nil
}

func (s *Study) file() string { return s.Path(s.name + ".json") }

// Path returns a path in the study's directory.
func (s *Study) Path(parts ...string) string {
	return filepath.Join(append([]string{s.Work}, parts...)...)
}

// Do returns the result of a unit, doing it if it is not there yet.
func Do[T any](ctx context.Context, s *Study, key string, f func() (T, error)) (T, error) {
	v, ok, err := Get[T](s, key)
	if ok || err != nil {
		return v, err
	}
	if !s.end.IsZero() && time.Now().After(s.end) {
		return v, record.ErrEnough
	}
	if err := ctx.Err(); err != nil {
		return v, err
	}
	log.Printf("%s: %s", s.name, key)
	if v, err = f(); err != nil {
		return v, fmt.Errorf("%s: %w", key, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return v, fmt.Errorf("%s: %w", key, err)
	}
	s.saved.Units[key] = b
	return v, record.Write(s.file(), s.saved)
}

// Get returns the result of a unit, if it is there.
func Get[T any](s *Study, key string) (v T, ok bool, err error) {
	b, ok := s.saved.Units[key]
	if !ok {
		return v, false, nil
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, false, fmt.Errorf("%s, %s: %w", s.file(), key, err)
	}
	return v, true, nil
}

// Has tells whether a unit is done.
func (s *Study) Has(key string) bool { return s.saved.Units[key] != nil }

// Publish writes the figures beside the page.
func (s *Study) Publish() error { return record.Write(filepath.Join(s.Out, s.name+".json"), s.saved) }

// Machine says where the units were done.
func (s *Study) Machine() string { return s.saved.Machine }

// Registry opens a registry of the study by name, which begins with the router that all of them share.
func (s *Study) Registry(ctx context.Context, name string) (*peft.Engine, error) {
	const router = "router"
	if err := s.make(router, func(dir string) error {
		if !s.end.IsZero() && time.Now().After(s.end) {
			return record.ErrEnough
		}
		e, err := s.open(dir)
		if err != nil {
			return err
		}
		_, err = e.Init(ctx, peft.InitOptions{})
		return errors.Join(err, e.Close())
	}); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if err := s.make(name, func(dir string) error { return os.CopyFS(dir, os.DirFS(s.Path(router))) }); err != nil {
		return nil, fmt.Errorf("registry %s: %w", name, err)
	}
	return s.open(s.Path(name))
}

// make makes a directory that is there complete or not at all.
func (s *Study) make(name string, f func(dir string) error) error {
	if _, err := os.Stat(s.Path(name)); err == nil {
		return nil
	}
	tmp := s.Path(name + ".new")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := f(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, s.Path(name))
}

func (s *Study) open(dir string) (*peft.Engine, error) {
	return peft.Open(peft.Options{Registry: dir, Base: s.Base, Threads: s.threads, Warn: func(m string) { log.Print(m) }, Progress: record.Progress(dir, 20*time.Second)})
}

// Trained is what training a set or an adapter took.
type Trained struct {
	Tokens  int     `json:"tokens"`
	Seconds float64 `json:"seconds"`        // of the training alone
	Loss    float64 `json:"loss,omitempty"` // mean of the last tenth of the steps, nats a learned token
}

// Train trains a new set. What an interrupted unit left of it goes first.
func Train(ctx context.Context, e *peft.Engine, name string, o peft.FinetuneOptions) (Trained, error) {
	sets, err := e.List()
	if err != nil {
		return Trained{}, err
	}
	for _, s := range sets {
		if s.Name == name {
			if err := e.Remove(ctx, name); err != nil {
				return Trained{}, err
			}
		}
	}
	if _, err := e.Finetune(ctx, name, o); err != nil {
		return Trained{}, err
	}
	info, err := e.Show(name)
	if err != nil {
		return Trained{}, err
	}
	t := Trained{Tokens: info.Training.Tokens, Seconds: info.Training.Seconds}
	last := info.Training.Losses
	last = last[len(last)-cmp.Or(len(last)/10, len(last)):]
	for _, l := range last {
		t.Loss += l.Train / float64(len(last))
	}
	return t, nil
}
