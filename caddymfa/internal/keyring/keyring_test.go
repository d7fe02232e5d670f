package keyring

import (
	"bytes"
	"testing"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, MinSecret) }

func ring(t *testing.T, secrets ...[]byte) *Ring {
	t.Helper()
	r, err := New(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewRefusesWeakSecrets(t *testing.T) {
	for name, secrets := range map[string][][]byte{
		"none":    {},
		"short":   {secret(1)[:31]},
		"twice":   {secret(1), secret(1)},
		"2 short": {secret(1), nil},
	} {
		if _, err := New(secrets...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAttack_F8_OnlyTheSameUseBindAndRingOpens(t *testing.T) {
	a := ring(t, secret(1))
	sealed := a.Key("handle").Seal("app", []byte("plain"))
	if got, err := a.Key("handle").Open("app", sealed); err != nil || string(got) != "plain" {
		t.Fatalf("own seal: %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"other label": func() ([]byte, error) { return a.Key("record").Open("app", sealed) },
		"other bind":  func() ([]byte, error) { return a.Key("handle").Open("app2", sealed) },
		"other ring":  func() ([]byte, error) { return ring(t, secret(2)).Key("handle").Open("app", sealed) },
		"cut":         func() ([]byte, error) { return a.Key("handle").Open("app", sealed[:len(sealed)-1]) },
		"padded":      func() ([]byte, error) { return a.Key("handle").Open("app", append(bytes.Clone(sealed), 0)) },
		"empty":       func() ([]byte, error) { return a.Key("handle").Open("app", nil) },
	} {
		if _, err := open(); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := a.Key("handle").Open("app", bad); err == nil {
			t.Errorf("byte %d flipped: opened", i)
		}
	}
}

func TestRotationOpensOldSealsNew(t *testing.T) {
	old := ring(t, secret(1)).Key("x").Seal("b", []byte("v"))
	both := ring(t, secret(2), secret(1)).Key("x")
	if _, err := both.Open("b", old); err != nil {
		t.Fatalf("old seal after rotation: %v", err)
	}
	fresh := both.Seal("b", []byte("v"))
	if _, err := ring(t, secret(1)).Key("x").Open("b", fresh); err == nil {
		t.Fatal("the old secret opens what was sealed after the rotation")
	}
}

func TestMACFramesItsParts(t *testing.T) {
	k := ring(t, secret(1)).Key("m")
	if bytes.Equal(k.MAC("ab", "c"), k.MAC("a", "bc")) {
		t.Fatal("two lists of parts share a hash")
	}
}

func FuzzOpen(f *testing.F) {
	r, _ := New(secret(1))
	k := r.Key("fuzz")
	f.Add(k.Seal("b", []byte("x")))
	f.Add([]byte{})
	good := string(k.Seal("b", []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := k.Open("b", b); err == nil && string(b) != good && string(plain) != "x" {
			t.Fatalf("opened something never sealed: %q", plain)
		}
	})
}

func BenchmarkOpenHandle(b *testing.B) {
	r, _ := New(secret(1))
	k := r.Key("handle")
	sealed := k.Seal("app", make([]byte, 40))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = k.Open("app", sealed)
	}
}
