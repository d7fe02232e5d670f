package sms

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// teller is a sender that reports.
type teller struct {
	fake
	report Report
	err    error
	after  time.Duration
}

func (t *teller) Report(Callback) (Report, error) { return t.report, t.err }

func (t *teller) Listening() bool { return t.err == nil }

func (t *teller) ReceiptTimeout() time.Duration { return t.after }

func TestTheFirstThatProvesAReportIsBelieved(t *testing.T) {
	ref := strings.Repeat("a", 32)
	silent := Named{"silent", &fake{}}
	forged := func(err error) Named { return Named{"no", &teller{err: err}} }
	says := func(r Report) Named { return Named{"yes", &teller{report: r}} }
	delivered := Report{Ref: ref, ID: "1", State: Delivered}
	for name, tc := range map[string]struct {
		chain *Chain
		want  Report
		err   error
	}{
		"nobody":             {NewChain(silent), Report{}, ErrForged},
		"none proves it":     {NewChain(silent, forged(ErrForged)), Report{}, ErrForged},
		"one cannot read":    {NewChain(forged(ErrAmbiguous), forged(ErrForged)), Report{}, ErrAmbiguous},
		"an error of others": {NewChain(forged(errors.New("+12015550123"))), Report{}, ErrForged},
		"the second":         {NewChain(silent, forged(ErrForged), says(delivered)), delivered, nil},
		"the first of two":   {NewChain(says(delivered), says(Report{Ref: ref, State: Failed, Why: Dead})), delivered, nil},
		"no reference":       {NewChain(says(Report{State: Delivered})), Report{}, ErrForged},
		"a strange one":      {NewChain(says(Report{Ref: strings.ToUpper(ref), State: Delivered})), Report{}, ErrForged},
		"unknown class":      {NewChain(says(Report{Ref: ref, State: Failed, Why: "moon"})), Report{Ref: ref, State: Failed, Why: Undelivered}, nil},
		"unknown state":      {NewChain(says(Report{Ref: ref, State: "moon", Why: Dead, Code: "1"})), Report{Ref: ref, State: Sent}, nil},
	} {
		got, err := tc.chain.Report(Callback{})
		if got != tc.want || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if NewChain(silent, forged(ErrForged)).Listening() || !NewChain(silent, forged(nil)).Listening() {
		t.Error("who listens?")
	}
	if NewChain(silent).Reports() || !NewChain(silent, forged(nil)).Reports() {
		t.Error("who reports?")
	}
}

func TestTheNextSenderAfterOne(t *testing.T) {
	first, second, third := &teller{after: time.Minute}, &fake{}, &teller{after: time.Minute}
	c := NewChain(Named{"a", first}, Named{"b", second}, Named{"c", third})
	for name, want := range map[string]time.Duration{"a": time.Minute, "b": 0, "c": 0, "gone": 0} {
		if got := c.Patience(Receipt{Provider: name}); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	r, err := c.SendAfter(t.Context(), Receipt{Provider: "a"}, Message{})
	if err != nil || r.Provider != "b" {
		t.Errorf("after a: %+v, %v", r, err)
	}
	for _, last := range []string{"c", "gone"} {
		var e *Error
		if _, err := c.SendAfter(t.Context(), Receipt{Provider: last}, Message{}); !errors.As(err, &e) || e.Kind != Misconfigured || e.Sent {
			t.Errorf("after %s: %v", last, err)
		}
	}
}

func TestWhoDoesBetter(t *testing.T) {
	for _, w := range whys {
		number := w == Dead || w == Landline || w == OptedOut
		if w.AboutNumber() != number || w.Elsewhere() != (!number && w != Suspected) {
			t.Errorf("%s: %v %v", w, w.AboutNumber(), w.Elsewhere())
		}
	}
}
