package sms

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// script answers with its errors in turn, nil accepts; the last one stays.
type script struct {
	answers []error
	at      []time.Duration // when it was asked
	since   time.Time
	takes   time.Duration
}

func (s *script) Send(ctx context.Context, _ Message) (Receipt, error) {
	s.at = append(s.at, time.Since(s.since))
	err := s.answers[min(len(s.at), len(s.answers))-1]
	select {
	case <-ctx.Done():
		return Receipt{}, &Error{Kind: Unavailable, Code: "time", Sent: true, Err: ctx.Err()}
	case <-time.After(s.takes):
	}
	return Receipt{}, err
}

func busy(after time.Duration) error {
	return &Error{Kind: Unavailable, Code: "429", RetryAfter: after, Err: errors.New("busy")}
}

// within runs a send of at most 15 s, as the flow does.
func within(t *testing.T, c *Chain, m Message) (Receipt, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	return c.Send(ctx, m)
}

func TestAttack_I4_ABusySenderIsAskedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		answers  []error
		asked    int
		no       bool
		from, to time.Duration // of the last question
	}{
		"busy, then free":             {answers: []error{busy(0), nil}, asked: 2, from: 250 * time.Millisecond, to: 500 * time.Millisecond},
		"it says how long":            {answers: []error{busy(3 * time.Second), nil}, asked: 2, from: 3 * time.Second, to: 3*time.Second + time.Millisecond},
		"the wait doubles":            {answers: []error{down("1"), down("1"), nil}, asked: 3, from: 750 * time.Millisecond, to: 1500 * time.Millisecond},
		"three times and no more":     {answers: []error{busy(0)}, asked: 3, no: true},
		"longer than anybody waits":   {answers: []error{busy(time.Minute), nil}, asked: 1, no: true},
		"wrong credentials":           {answers: []error{wrong("401"), nil}, asked: 1, no: true},
		"a refused number":            {answers: []error{refused("21211"), nil}, asked: 1, no: true},
		"it may have sent":            {answers: []error{lost("500"), nil}, asked: 1, no: true},
		"busy, then a refused number": {answers: []error{busy(0), refused("21211"), nil}, asked: 2, no: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: c.answers, since: time.Now()}
			_, err := within(t, NewChain(Named{"a", s}), Message{})
			if len(s.at) != c.asked || (err != nil) != c.no {
				t.Errorf("%s: asked %d times, %v", name, len(s.at), err)
			}
			if last := s.at[len(s.at)-1]; !c.no && (last < c.from || last > c.to) {
				t.Errorf("%s: asked after %s", name, last)
			}
		})
	}
}

// One fault costs one text more than was wanted, at most.
func TestAttack_I4_AtMostOneTextTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []error{lost("500")}, since: time.Now()}
		other := &script{answers: []error{lost("500")}, since: time.Now()}
		if _, err := within(t, NewChain(Named{"a", s}, Named{"b", other}), Message{Repeatable: true}); err == nil || len(s.at)+len(other.at) != 2 {
			t.Errorf("%d and %d texts, %v", len(s.at), len(other.at), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []error{lost("500"), nil}, since: time.Now()}
		if _, err := within(t, NewChain(Named{"a", s}), Message{Repeatable: true}); err != nil || len(s.at) != 2 {
			t.Errorf("%d texts, %v", len(s.at), err)
		}
	})
}

func TestASenderThatFailsAgainAndAgainIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &script{answers: []error{lost("time")}, since: time.Now(), takes: 5 * time.Second}
		good := &script{answers: []error{nil}, since: time.Now()}
		c := NewChain(Named{"slow", slow}, Named{"good", good})
		send := func() time.Duration {
			t.Helper()
			start := time.Now()
			if _, err := within(t, c, Message{Repeatable: true}); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		for range breakAfter {
			if d := send(); d != 5*time.Second {
				t.Fatalf("a send took %s", d)
			}
		}
		for range 10 {
			if d := send(); d != 0 {
				t.Fatalf("nobody should wait for the slow one any more, and it took %s", d)
			}
		}
		if len(slow.at) != breakAfter {
			t.Errorf("the slow one was asked %d times", len(slow.at))
		}
		// After the pause one text tries it, and only one.
		time.Sleep(firstPause)
		done := make(chan struct{})
		go func() { send(); close(done) }()
		synctest.Wait()
		if d := send(); d != 0 {
			t.Errorf("a second one tried it, too: %s", d)
		}
		<-done
		if len(slow.at) != breakAfter+1 {
			t.Errorf("the slow one was asked %d times", len(slow.at))
		}
		// It failed again: the next pause is longer.
		time.Sleep(firstPause)
		if send(); len(slow.at) != breakAfter+1 {
			t.Error("the second pause is as short as the first")
		}
		// Once it works it is the first again.
		slow.answers, slow.takes = []error{nil}, 0
		time.Sleep(longPause)
		before := len(good.at)
		send()
		send()
		if len(good.at) != before {
			t.Error("the first sender works and is not asked")
		}
	})
}

func TestWrongCredentialsAreNotTriedWithEveryText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []error{wrong("401")}, since: time.Now()}
		c := NewChain(Named{"a", s})
		for range 5 {
			_, err := within(t, c, Message{})
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatal(err)
			}
		}
		if len(s.at) != 1 {
			t.Errorf("asked %d times", len(s.at))
		}
	})
}

func TestRefusedNumbersSayNothingAgainstASender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []error{refused("21211")}, since: time.Now()}
		c := NewChain(Named{"a", s})
		for range 3 * breakAfter {
			_, _ = within(t, c, Message{})
		}
		if len(s.at) != 3*breakAfter {
			t.Errorf("asked %d times", len(s.at))
		}
	})
}
