package challenge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func rules(t *testing.T) Rules {
	t.Helper()
	var r Rules
	if err := r.Complete(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRulesAreBounded(t *testing.T) {
	for name, r := range map[string]Rules{
		"short": {Length: 5}, "long": {Length: 11}, "old": {Lifetime: 11 * time.Minute}, "brief": {Lifetime: time.Second}, "tries": {Tries: 11},
		"resend": {Resend: []time.Duration{time.Second}}, "many": {Resend: make([]time.Duration, 6)},
	} {
		if err := r.Complete(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCodesAreUniform(t *testing.T) {
	const n = 20_000
	var at [6][10]int
	zero := 0
	for range n {
		c := newCode(6)
		if len(c) != 6 {
			t.Fatalf("%q", c)
		}
		if c[0] == '0' {
			zero++
		}
		for i := range c {
			at[i][c[i]-'0']++
		}
	}
	for i, digits := range at {
		chi := 0.0
		for _, d := range digits {
			e := float64(n) / 10
			chi += (float64(d) - e) * (float64(d) - e) / e
		}
		if chi > 36 { // 9 degrees of freedom: beyond this once in 30,000 runs
			t.Errorf("digit %d: chi² %.1f", i, chi)
		}
	}
	if zero == 0 {
		t.Error("no code begins with 0")
	}
}

func TestAttack_E10_ExpiryIsExact(t *testing.T) {
	s := New(SignIn).Send(rules(t), now)
	if s.Expired(now.Add(5*time.Minute - time.Nanosecond)) {
		t.Error("expired too early")
	}
	if !s.Expired(now.Add(5 * time.Minute)) {
		t.Error("alive too long")
	}
	if (State{}).Right("") || (State{Code: "123456"}).Right("") || !s.Right(s.Code) {
		t.Error("comparison")
	}
}

func TestAttack_I8_E10_ResendExtendsNothing(t *testing.T) {
	r := rules(t)
	first := New(SignIn).Send(r, now)
	again := first.Send(r, now.Add(4*time.Minute))
	if again.Code != first.Code || !again.CodeExpires.Equal(first.CodeExpires) {
		t.Error("a resend changed or extended the code")
	}
	late := first.Send(r, now.Add(6*time.Minute))
	if !late.CodeExpires.Equal(now.Add(11*time.Minute)) || late.ID != first.ID {
		t.Error("an expired code is not made anew")
	}
}

func TestWaitsGrowAndEnd(t *testing.T) {
	r, s := rules(t), New(SignIn)
	for _, want := range []time.Duration{0, 30 * time.Second, time.Minute, 2 * time.Minute} {
		if wait, more := s.Wait(r, now); wait != want || !more {
			t.Fatalf("after %d texts: %s, %v", s.Sends, wait, more)
		}
		s = s.Send(r, now)
	}
	if _, more := s.Wait(r, now.Add(time.Hour)); more {
		t.Error("no end of texts")
	}
	failed := New(SignIn).Send(r, now)
	failed.Failed = "gateway_unavailable"
	if wait, more := failed.Wait(r, now); wait != 0 || !more {
		t.Error("a text that did not go out must be waited for")
	}
}

func TestAttack_G1_CodeForAnotherNumberIsDead(t *testing.T) {
	s := New(SignIn).SetNumber("+447400123456").Send(rules(t), now)
	if other := s.SetNumber("+447400654321"); !other.Expired(now) {
		t.Error("the code lives on")
	}
	if same := s.SetNumber("+447400123456"); same.Code != s.Code {
		t.Error("the same number again kills the code")
	}
}

func TestAttack_E11_Normalise(t *testing.T) {
	for in, want := range map[string]string{
		"123456": "123456", " 123 456 ": "123456", "123-456": "123456", "123–456": "123456", "１２３４５６": "123456", "١٢٣٤٥٦": "123456", "१२३४५६": "123456",
		"\u200e123456": "123456", "000000": "000000", "𝟏𝟐𝟑𝟒𝟓𝟔": "123456",
	} {
		if got, ok := Normalise(in, 6); !ok || got != want {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "12345", "1234567", "12345a", "+12345", "1e5", "0x1234", "123456\x00", "12.3456", "½23456", "²³⁴⁵⁶⁷", strings.Repeat("1", 100), "١٢٣"} {
		if got, ok := Normalise(in, 6); ok {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// TestEveryDecimalDigit holds digit against the Unicode tables: the digits of a
// script follow each other from zero.
func TestEveryDecimalDigit(t *testing.T) {
	value := 0
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if !unicode.Is(unicode.Nd, c) {
			if value != 0 {
				t.Fatalf("a run of digits ends at %U with %d", c, value)
			}
			continue
		}
		if got := digit(c); got != byte('0'+value) {
			t.Errorf("%U is %d, read as %c", c, value, got)
		}
		value = (value + 1) % 10
	}
}

func FuzzNormalise(f *testing.F) {
	f.Add("123 456")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := Normalise(s, 6)
		if ok && (len(got) != 6 || strings.Trim(got, "0123456789") != "") {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

// TestAttack_E12_CodesAreComparedInConstantTimeOnly reads the module's own
// source: wherever the field Code of a challenge is compared, that is with "" or
// by crypto/subtle. Timing itself cannot be measured reliably in a test.
func TestAttack_E12_CodesAreComparedInConstantTimeOnly(t *testing.T) {
	constant := 0
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, filepath.Join("..", "sms")) {
			return err // the codes of the room sms are gateways' errors
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op != token.EQL && n.Op != token.NEQ {
					return true
				}
				for _, side := range [][2]ast.Expr{{n.X, n.Y}, {n.Y, n.X}} {
					if lit, ok := side[1].(*ast.BasicLit); isCode(side[0]) && !(ok && lit.Value == `""`) {
						t.Errorf("%s compares a code with %s", path, n.Op)
					}
				}
			case *ast.CallExpr:
				name := called(n.Fun)
				for _, arg := range n.Args {
					if c, ok := arg.(*ast.CallExpr); ok && len(c.Args) == 1 { // []byte(s.Code)
						arg = c.Args[0]
					}
					if !isCode(arg) {
						continue
					}
					if name == "subtle.ConstantTimeCompare" {
						constant++
					} else if strings.HasPrefix(name, "strings.") || strings.HasPrefix(name, "bytes.") || strings.HasPrefix(name, "slices.") {
						t.Errorf("%s hands a code to %s", path, name)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if constant != 1 {
		t.Fatalf("%d comparisons in constant time: one was expected", constant)
	}
}

func isCode(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Code"
}

func called(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); ok {
		return x.Name + "." + s.Sel.Name
	}
	return s.Sel.Name
}
