package account

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecoveryCodesAreSpentOnce(t *testing.T) {
	now := time.Now()
	var a Account
	codes := a.MakeCodes(now)
	form := regexp.MustCompile(`^[a-z2-9]{5}-[a-z2-9]{5}-[a-z2-9]{5}$`)
	seen := map[string]bool{}
	for _, c := range codes {
		if !form.MatchString(c) || seen[c] {
			t.Errorf("code %q", c)
		}
		seen[c] = true
	}
	if len(codes) != CodeCount {
		t.Fatalf("%d codes", len(codes))
	}
	for i, c := range codes {
		typed, ok := NormaliseCode(" " + strings.ToUpper(strings.ReplaceAll(c, "-", " ")) + "\t")
		if !ok {
			t.Fatalf("%q cannot be typed in another way", c)
		}
		if what, _ := a.Spend(typed, now); what != RecoveryCode || len(a.Codes.Hashes) != CodeCount-1-i {
			t.Fatalf("code %d: %v, %d left", i, what, len(a.Codes.Hashes))
		}
		if what, _ := a.Spend(typed, now); what != NoCode {
			t.Fatalf("code %d was spent twice", i)
		}
	}
	old := a.MakeCodes(now)
	a.MakeCodes(now)
	if what, _ := a.Spend(strings.ReplaceAll(old[0], "-", ""), now); what != NoCode {
		t.Error("a code that was replaced is still good")
	}
}

func TestNormaliseCodeRefusesWhatIsNone(t *testing.T) {
	for _, typed := range []string{"", "abc", "abcde-abcde", "abcde-abcde-abcdl", "abcde-abcde-abcd0", "abcde-abcde-abcd1", "abcde-abcde-abcdeabcde", strings.Repeat("a", 100), "äbcde-abcde-abcde"} {
		if code, ok := NormaliseCode(typed); ok {
			t.Errorf("%q is read as %q", typed, code)
		}
	}
	if code, ok := NormaliseCode("ABCDE—abcde\u2010abcde"); !ok || code != "abcdeabcdeabcde" {
		t.Errorf("%q, %v", code, ok)
	}
}

func TestAttack_G7_AHelpDesksCode(t *testing.T) {
	now := time.Now()
	var a Account
	code := strings.ReplaceAll(a.MakeHelpDesk("carol", 1, now), "-", "")
	if what, _ := a.Spend(code, now.Add(HelpDeskTTL)); what != NoCode {
		t.Error("good after an hour")
	}
	if what, by := a.Spend(code, now.Add(HelpDeskTTL-time.Second)); what != HelpDeskCode || by != "carol" {
		t.Errorf("%v by %q", what, by)
	}
	if what, _ := a.Spend(code, now); what != NoCode {
		t.Error("spent twice")
	}
}

func TestTrustedBrowsers(t *testing.T) {
	now := time.Now()
	until := now.Add(24 * time.Hour)
	pw := []byte("keyed hash")
	for name, c := range map[string]struct {
		label string
		pw    []byte
		at    time.Time
		edit  func(string) string
		want  Recognition
	}{
		"as it was":            {"Firefox", pw, now, nil, Known},
		"another browser":      {"Chrome", pw, now, nil, Copied},
		"another password":     {"Firefox", []byte("another"), now, nil, Copied},
		"its time is over":     {"Firefox", pw, until, nil, Unknown},
		"cut":                  {"Firefox", pw, now, func(s string) string { return s[:len(s)-1] }, Unknown},
		"padded":               {"Firefox", pw, now, func(s string) string { return s + "=" }, Unknown},
		"another secret":       {"Firefox", pw, now, func(s string) string { return s[:20] + "AAAA" + s[24:] }, Copied},
		"another browser's id": {"Firefox", pw, now, func(s string) string { return "AAAA" + s[4:] }, Unknown},
	} {
		var a Account
		token := a.Trust("Firefox", pw, 1, now, until)
		if c.edit != nil {
			token = c.edit(token)
		}
		next, got := a.Recognise(token, c.label, c.pw, c.at)
		if got != c.want || (got == Known) != (next != "" && next != token) || (got == Copied) != (len(a.Devices) == 0) && c.want != Unknown {
			t.Errorf("%s: %v, %q, %d left", name, got, next, len(a.Devices))
		}
	}
}

func TestAttack_G4_ACopiedTrustCookieEndsBoth(t *testing.T) {
	now := time.Now()
	var a Account
	first := a.Trust("Firefox", nil, 1, now, now.Add(time.Hour))
	second, got := a.Recognise(first, "Firefox", nil, now)
	if got != Known {
		t.Fatal(got)
	}
	if _, got := a.Recognise(first, "Firefox", nil, now); got != Copied {
		t.Errorf("the copy: %v", got)
	}
	if _, got := a.Recognise(second, "Firefox", nil, now); got != Unknown {
		t.Errorf("the other one: %v", got)
	}
}

func TestAtMostFiveBrowsers(t *testing.T) {
	now := time.Now()
	var a Account
	var tokens []string
	for i := range MaxDevices {
		tokens = append(tokens, a.Trust("b", nil, 1, now.Add(time.Duration(i)*time.Second), now.Add(time.Hour)))
	}
	tokens[0], _ = a.Recognise(tokens[0], "b", nil, now.Add(time.Minute)) // used lately: the second is the oldest now
	a.Trust("b", nil, 1, now.Add(2*time.Minute), now.Add(time.Hour))
	if len(a.Devices) != MaxDevices {
		t.Errorf("%d browsers", len(a.Devices))
	}
	if _, got := a.Recognise(tokens[1], "b", nil, now.Add(2*time.Minute)); got != Unknown {
		t.Errorf("the oldest: %v", got)
	}
	if _, got := a.Recognise(tokens[0], "b", nil, now.Add(2*time.Minute)); got != Known {
		t.Errorf("one that is used: %v", got)
	}
}

func TestChangeHasOneWriterAfterTheOther(t *testing.T) {
	b := book(t)
	var a Account
	codes := a.MakeCodes(time.Now())
	if _, err := b.Change(t.Context(), "app", "alice", 0, func(to *Account) error { to.Codes = a.Codes; return nil }); err != nil {
		t.Fatal(err)
	}
	code := strings.ReplaceAll(codes[0], "-", "")
	none := errors.New("none")
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := b.Change(context.Background(), "app", "alice", 0, func(a *Account) error {
				if what, _ := a.Spend(code, time.Now()); what == NoCode {
					return none
				}
				return nil
			})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, none) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("one code was spent %d times", won.Load())
	}
}

func TestAttack_G3_AResetLeavesNothingAndEndsWhatIsUnderWay(t *testing.T) {
	b := book(t)
	ctx := t.Context()
	if _, err := b.Enrol(ctx, "app", "alice", 0, "+447400123456", "de", time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		wrong(t, b)
	}
	was, err := b.Reset(ctx, "app", "alice")
	if err != nil || was.Number != "+447400123456" || was.Lang != "de" {
		t.Fatalf("%+v, %v", was, err)
	}
	if a, err := b.Find(ctx, "app", "alice"); err != nil || a.Number != "" || a.Codes != nil || a.Devices != nil || a.Epoch != 2 {
		t.Errorf("left: %+v, %v", a, err)
	}
	if _, st, err := b.Look(ctx, "app", "alice"); err != nil || st.Locked {
		t.Errorf("still locked: %+v, %v", st, err)
	}
	// Begun before the reset: an enrolment, and new codes.
	if _, err := b.Enrol(ctx, "app", "alice", 0, "+447400654321", "", time.Now()); !errors.Is(err, ErrReset) {
		t.Errorf("an enrolment: %v", err)
	}
	if _, err := b.Change(ctx, "app", "alice", 0, func(a *Account) error { a.MakeCodes(time.Now()); return nil }); !errors.Is(err, ErrReset) {
		t.Errorf("recovery codes: %v", err)
	}
	if _, err := b.Enrol(ctx, "app", "alice", 2, "+447400654321", "", time.Now()); err != nil {
		t.Errorf("begun after it: %v", err)
	}
	if _, err := b.Reset(ctx, "app", "nobody"); err != nil {
		t.Error(err)
	}
}

func TestUsersAreListedAndFoundByTheirUID(t *testing.T) {
	b := book(t)
	ctx := t.Context()
	if _, err := b.Reset(ctx, "app", "carol"); err != nil { // leaves an epoch, no name
		t.Fatal(err)
	}
	for _, user := range []string{"alice", "Bob", "carol"} {
		a, err := b.Find(ctx, "app", user)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := b.Change(ctx, "app", user, a.Epoch, func(*Account) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	users, err := b.Users(ctx, "app")
	if err != nil || len(users) != 3 {
		t.Fatalf("%v, %v", users, err)
	}
	uid := UID("app", "Bob")
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(uid) || uid == UID("app2", "Bob") || uid == UID("app", "bob") {
		t.Errorf("uid %q", uid)
	}
	if user, ok, err := b.UserOf(ctx, "app", strings.ToUpper(uid)); err != nil || !ok || user != "Bob" {
		t.Errorf("%q, %v, %v", user, ok, err)
	}
	for _, other := range []string{"", "x", uid[:30], uid + "00", UID("app", "dave"), "-" + uid[1:]} {
		if user, ok, err := b.UserOf(ctx, "app", other); err != nil || ok {
			t.Errorf("%q is %q, %v", other, user, err)
		}
	}
	if _, ok, _ := b.UserOf(ctx, "app2", uid); ok {
		t.Error("another application knows the user")
	}
}

func TestAnInvitationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ctx := book(t), t.Context()
		code, until, err := b.Invite(ctx, "app", "alice", 1, time.Now())
		if err != nil || time.Until(until) != InviteTTL {
			t.Fatal(until, err)
		}
		plain, _ := NormaliseCode(code)
		for _, other := range [][2]string{{"app2", "alice"}, {"app", "bob"}} {
			if proof, err := b.Accept(ctx, other[0], other[1], 1, plain); proof != nil || err != nil {
				t.Errorf("%v: %v", other, err)
			}
		}
		proof, err := b.Accept(ctx, "app", "alice", 1, plain)
		if proof == nil || err != nil {
			t.Fatal(err)
		}
		time.Sleep(InviteTTL - time.Second)
		if until, err := b.Invited(ctx, "app", "alice", 1); until.IsZero() || err != nil {
			t.Error("ended too soon", err)
		}
		time.Sleep(2 * time.Second)
		if until, err := b.Invited(ctx, "app", "alice", 1); !until.IsZero() || err != nil {
			t.Error("it has not ended", err)
		}
		if proof, err := b.Accept(ctx, "app", "alice", 1, plain); proof != nil || err != nil {
			t.Error("accepted after its end", err)
		}
		if err := b.UseInvite(ctx, "app", "alice", proof); !errors.Is(err, ErrNotInvited) {
			t.Errorf("used after its end: %v", err)
		}
	})
}

func TestAnInvitationHasOneWinner(t *testing.T) {
	b, ctx := book(t), t.Context()
	code, _, err := b.Invite(ctx, "app", "alice", 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := NormaliseCode(code)
	proof, err := b.Accept(ctx, "app", "alice", 1, plain)
	if err != nil {
		t.Fatal(err)
	}
	var wins atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			switch err := b.UseInvite(ctx, "app", "alice", proof); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, ErrNotInvited):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d won", wins.Load())
	}
	for _, proof := range [][]byte{nil, {}, proof} {
		if err := b.UseInvite(ctx, "app", "alice", proof); !errors.Is(err, ErrNotInvited) {
			t.Errorf("used again: %v", err)
		}
	}
	if until, err := b.Invited(ctx, "app", "alice", 1); !until.IsZero() || err != nil {
		t.Error("still invited", err)
	}
}
