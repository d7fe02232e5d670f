package sms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// fake answers with err, or accepts when it is nil.
type fake struct {
	err  error
	sent []Message
}

func (f *fake) Send(_ context.Context, m Message) (Receipt, error) {
	f.sent = append(f.sent, m)
	return Receipt{ID: "1"}, f.err
}

func down(code string) error { return &Error{Kind: Unavailable, Code: code, Err: errors.New("down")} }

func lost(code string) error {
	return &Error{Kind: Unavailable, Code: code, Sent: true, Err: errors.New("no answer")}
}

func wrong(code string) error {
	return &Error{Kind: Misconfigured, Code: code, Err: errors.New("wrong")}
}

func refused(code string) error {
	return &Error{Kind: Refused, Code: code, Err: errors.New("refused")}
}

func TestAttack_I4_ChainFailsOver(t *testing.T) {
	for name, tc := range map[string]struct {
		answers    []error // of the senders, in order
		repeatable bool
		asked      int
		provider   string // that accepted, or that tells most
		kind       Kind
		sent       bool
	}{
		"first accepts":                       {answers: []error{nil, nil}, asked: 1, provider: "a"},
		"first is down":                       {answers: []error{down("1"), nil}, asked: 2, provider: "b"},
		"first is misconfigured":              {answers: []error{wrong("1"), nil}, asked: 2, provider: "b"},
		"first refuses the number":            {answers: []error{refused("1"), nil}, asked: 1, provider: "a", kind: Refused},
		"first may have sent":                 {answers: []error{lost("1"), nil}, asked: 1, provider: "a", kind: Unavailable, sent: true},
		"first may have sent, repeatable":     {answers: []error{lost("1"), nil}, repeatable: true, asked: 2, provider: "b"},
		"two may have sent, repeatable":       {answers: []error{lost("1"), lost("2"), nil}, repeatable: true, asked: 2, provider: "b", sent: true},
		"lost, down, accepted, repeatable":    {answers: []error{lost("1"), down("2"), nil}, repeatable: true, asked: 3, provider: "c"},
		"lost, then refused, repeatable":      {answers: []error{lost("1"), refused("2"), nil}, repeatable: true, asked: 2, provider: "b", kind: Refused, sent: true},
		"all are down":                        {answers: []error{down("1"), down("2")}, asked: 2, provider: "b", kind: Unavailable},
		"misconfigured tells more than down":  {answers: []error{wrong("1"), down("2")}, asked: 2, provider: "a", kind: Misconfigured},
		"refused tells more than all":         {answers: []error{wrong("1"), down("2"), refused("3")}, asked: 3, provider: "c", kind: Refused},
		"a foreign error may have sent":       {answers: []error{errors.New("x"), nil}, asked: 1, provider: "a", kind: Unavailable, sent: true},
		"a wrapped *Error is an *Error":       {answers: []error{fmt.Errorf("x: %w", down("1")), nil}, asked: 2, provider: "b"},
		"foreign, then accepted, repeatable":  {answers: []error{errors.New("x"), nil}, repeatable: true, asked: 2, provider: "b"},
		"down, then lost keeps the doubt":     {answers: []error{down("1"), lost("2")}, asked: 2, provider: "b", kind: Unavailable, sent: true},
		"wrong, then lost keeps the doubt":    {answers: []error{wrong("1"), lost("2")}, asked: 2, provider: "a", kind: Misconfigured, sent: true},
		"the second refusal is never reached": {answers: []error{refused("1"), refused("2")}, asked: 1, provider: "a", kind: Refused},
	} {
		t.Run(name, func(t *testing.T) {
			var named []Named
			fakes := make([]*fake, len(tc.answers))
			for i, err := range tc.answers {
				fakes[i] = &fake{err: err}
				named = append(named, Named{string(rune('a' + i)), fakes[i]})
			}
			m := Message{To: "+12015550123", Text: "123456", Repeatable: tc.repeatable}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // too short for a second round
			defer cancel()
			r, err := NewChain(named...).Send(ctx, m)
			if err == nil {
				doubt := errors.As(tc.answers[0], new(*Error)) && asError(tc.answers[0]).Sent || tc.answers[0] != nil && !errors.As(tc.answers[0], new(*Error))
				if (r.Before != nil) != (tc.asked > 1) || r.Before != nil && r.Before.Sent != doubt {
					t.Errorf("before it: %v", r.Before)
				}
			}
			asked := 0
			for _, f := range fakes {
				asked += len(f.sent)
				for _, got := range f.sent {
					if got != m {
						t.Errorf("a sender got %+v", got)
					}
				}
			}
			if asked != tc.asked {
				t.Errorf("%d senders were asked, want %d", asked, tc.asked)
			}
			if accepted := tc.answers[tc.asked-1] == nil; accepted {
				if err != nil || r.Provider != tc.provider {
					t.Errorf("Send = %+v, %v; want it accepted by %s", r, err, tc.provider)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Send = %v, which is no *Error", err)
			}
			if e.Provider != tc.provider || e.Kind != tc.kind || e.Sent != tc.sent {
				t.Errorf("Send = %+v, want provider %s, kind %d, sent %v", e, tc.provider, tc.kind, tc.sent)
			}
		})
	}
}

func TestChainTellsOfAllFailures(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := NewChain(Named{"a", &fake{err: down("11")}}, Named{"b", &fake{err: wrong("22")}}, Named{"c", &fake{err: down("33")}}).Send(ctx, Message{})
	for _, want := range []string{"a ", "11", "b ", "22", "c ", "33"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestChainWithoutSendersOrTime(t *testing.T) {
	var e *Error
	if _, err := NewChain().Send(t.Context(), Message{}); !errors.As(err, &e) || e.Kind != Misconfigured || e.Sent {
		t.Errorf("an empty chain answers %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := &fake{}
	if _, err := NewChain(Named{"a", f}).Send(ctx, Message{}); !errors.As(err, &e) || e.Kind != Unavailable || e.Sent || len(f.sent) != 0 {
		t.Errorf("a chain without time answers %v after %d sends", err, len(f.sent))
	}
}

func TestAttack_D7_ForeignErrorTextsAreWithheld(t *testing.T) {
	_, err := NewChain(Named{"a", &fake{err: errors.New("POST https://u:pw@host/?to=+12015550123 text=123456")}}).Send(t.Context(), Message{})
	for _, secret := range []string{"2015550123", "123456", "pw"} {
		if strings.Contains(err.Error(), secret) || strings.Contains(fmt.Sprintf("%+v", errors.Unwrap(err)), secret) {
			t.Errorf("%s is in %q", secret, err)
		}
	}
}

func declined(code string) error {
	return &Error{Kind: Declined, Code: code, Err: errors.New("not this one")}
}

// codes takes no notices.
type codes struct {
	fake
	confirmed []string
	confirm   error
}

func (*codes) CodesOnly() bool { return true }

func (c *codes) Confirm(_ context.Context, r Receipt) error {
	c.confirmed = append(c.confirmed, r.ID)
	return c.confirm
}

func TestNoticesGoToThoseWhoTakeThem(t *testing.T) {
	first, second := &codes{}, &fake{}
	chain := NewChain(Named{"codes", first}, Named{"any", second})
	if chain.CodesOnly() {
		t.Error("one of them takes notices")
	}
	for range 2 * breakAfter {
		if r, err := chain.Send(t.Context(), Message{To: "+12015550123", Text: "a notice"}); err != nil || r.Provider != "any" {
			t.Fatalf("a notice: %+v, %v", r, err)
		}
	}
	if len(first.sent) != 0 {
		t.Errorf("who takes codes only was asked %d times", len(first.sent))
	}
	if r, err := chain.Send(t.Context(), Message{To: "+12015550123", Text: "1", Code: "123456"}); err != nil || r.Provider != "codes" {
		t.Errorf("a code after the notices: %+v, %v", r, err)
	}
	alone := NewChain(Named{"codes", first})
	var e *Error
	if _, err := alone.Send(t.Context(), Message{Text: "a notice"}); !alone.CodesOnly() || !errors.As(err, &e) || e.Kind != Declined || e.Sent {
		t.Errorf("a notice to who takes codes only: %v", err)
	}
	if NewChain().CodesOnly() {
		t.Error("an empty chain has another fault")
	}
}

// TestAttack_I4_WhatIsDeclinedCountsForNothing: whoever makes a sender decline,
// say by asking for too many texts to one number, must not switch it off.
func TestAttack_I4_WhatIsDeclinedCountsForNothing(t *testing.T) {
	s := &fake{err: declined("60203")}
	second := &fake{}
	chain := NewChain(Named{"a", s}, Named{"b", second})
	for range 3 * breakAfter {
		if r, err := chain.Send(t.Context(), Message{Code: "1"}); err != nil || r.Provider != "b" {
			t.Fatalf("the next sender is asked: %+v, %v", r, err)
		}
	}
	s.err = nil
	if r, err := chain.Send(t.Context(), Message{Code: "1"}); err != nil || r.Provider != "a" {
		t.Errorf("after texts that it declined: %+v, %v", r, err)
	}
	// Nor does it help a sender that fails.
	s.err = down("1")
	for range breakAfter - 1 {
		_, _ = chain.Send(t.Context(), Message{Code: "1"})
	}
	s.err = declined("1")
	_, _ = chain.Send(t.Context(), Message{Code: "1"})
	s.err = down("1")
	_, _ = chain.Send(t.Context(), Message{Code: "1"})
	before := len(s.sent)
	if _, err := chain.Send(t.Context(), Message{Code: "1"}); err != nil || len(s.sent) != before {
		t.Errorf("after %d failures it is asked again: %v", breakAfter, err)
	}

	var e *Error
	alone := &fake{err: declined("60203")}
	if _, err := NewChain(Named{"a", alone}).Send(t.Context(), Message{Code: "1"}); !errors.As(err, &e) || e.Kind != Declined || len(alone.sent) != 1 {
		t.Errorf("declined by the only one, asked %d times: %v", len(alone.sent), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for _, answers := range [][]error{{declined("1"), down("2")}, {down("2"), declined("1")}} {
		_, err := NewChain(Named{"a", &fake{err: answers[0]}}, Named{"b", &fake{err: answers[1]}}).Send(ctx, Message{Code: "1"})
		if !errors.As(err, &e) || e.Kind != Unavailable || e.Code != "2" {
			t.Errorf("an outage tells more: %v", err)
		}
	}
}

func TestWhoSentATextIsTold(t *testing.T) {
	a, b := &codes{}, &codes{confirm: errors.New("POST https://u:pw@host/+12015550123")}
	c := NewChain(Named{"a", a}, Named{"x", &fake{}}, Named{"b", b})
	r, err := c.Send(t.Context(), Message{Code: "1"})
	if err != nil || r.Provider != "a" || !r.Confirm {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, r := range []Receipt{r, {Provider: "x", ID: "2"}, {Provider: "gone", ID: "3"}} {
		if err := c.Confirm(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	if len(a.confirmed) != 1 || len(b.confirmed) != 0 || a.confirmed[0] != "1" {
		t.Errorf("told %v and %v", a.confirmed, b.confirmed)
	}
	if r, err := NewChain(Named{"x", &fake{}}).Send(t.Context(), Message{Code: "1"}); err != nil || r.Confirm {
		t.Errorf("nobody wants to know of %+v, %v", r, err)
	}
	if err := c.Confirm(t.Context(), Receipt{Provider: "b", ID: "4"}); err == nil || !strings.HasPrefix(err.Error(), "b ") || strings.Contains(err.Error(), "2015550123") || strings.Contains(err.Error(), "pw") {
		t.Errorf("D7: the failure is %v", err)
	}
}
