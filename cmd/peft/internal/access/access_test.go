package access

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gopeft/peft/registry"
)

func open(t *testing.T) *registry.DB {
	t.Helper()
	db, err := registry.Open(t.TempDir(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestKeys(t *testing.T) {
	db, ctx := open(t), context.Background()
	if Any(db) {
		t.Error("a new registry has keys")
	}
	k, secret, err := Add(ctx, db, "team.one", Rights{Sets: []string{"a", "b*"}, TokensPerMinute: 7})
	if err != nil || k.Name != "team.one" || !Any(db) {
		t.Fatalf("%v, %v", k, err)
	}
	if _, other, err := Add(ctx, db, "root", Rights{Admin: true}); err != nil || other == secret {
		t.Fatal(err)
	}
	got, err := Check(db, secret)
	if err != nil || got.Name != "team.one" || got.TokensPerMinute != 7 || got.Admin {
		t.Errorf("%v, %v", got, err)
	}
	for set, want := range map[string]bool{"a": true, "b": true, "bcd": true, "ab": false, "c": false, "": false} {
		if got.Sees(set) != want {
			t.Errorf("sees %q: %v", set, !want)
		}
	}
	body := secret[strings.LastIndexByte(secret, '.')+1:]
	last := "A"
	if strings.HasSuffix(secret, last) {
		last = "Q"
	}
	for _, bad := range []string{"", "peft-", "peft-.", body, secret + "x", secret[:len(secret)-1], secret[:len(secret)-1] + last, "peft-root." + body, "peft-nobody." + body, "peft-../x." + body} {
		if k, err := Check(db, bad); !errors.Is(err, ErrDenied) || k != nil {
			t.Errorf("%q: %v, %v", bad, k, err)
		}
	}
	if _, _, err := Add(ctx, db, "team.one", Rights{}); !errors.Is(err, ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	if keys, err := List(db); err != nil || len(keys) != 2 || keys[0].Name != "root" || !keys[0].Admin || keys[1].Created.IsZero() {
		t.Errorf("%v, %v", keys, err)
	}
	var backup bytes.Buffer
	if err := db.Backup(&backup); err != nil || bytes.Contains(backup.Bytes(), []byte(body)) {
		t.Errorf("the registry holds the secret, or its backup fails: %v", err)
	}
	if _, err := db.Verify(ctx, nil); err != nil {
		t.Error(err)
	}
	if err := Revoke(ctx, db, "team.one"); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(db, secret); !errors.Is(err, ErrDenied) {
		t.Errorf("revoked, but %v", err)
	}
	if err := Revoke(ctx, db, "team.one"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}

func TestRights(t *testing.T) {
	db := open(t)
	for _, r := range []Rights{{Admin: true, Sets: []string{"a"}}, {Admin: true, Metrics: true}, {Metrics: true, Sets: []string{"a"}}, {Sets: []string{""}}, {Sets: []string{"[a"}}, {TokensPerMinute: -1}, {RequestsPerMinute: -1}} {
		if _, _, err := Add(context.Background(), db, "k", r); err == nil {
			t.Errorf("%+v passes", r)
		}
	}
	if _, _, err := Add(context.Background(), db, "a/b", Rights{}); !errors.Is(err, registry.ErrName) {
		t.Errorf("name: %v", err)
	}
	if Any(db) {
		t.Error("what was refused left keys")
	}
}
