package flow

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// sendTime bounds the hand-over of one text to all providers together.
const sendTime = 15 * time.Second

// Sending is what came of a wish for a text.
type Sending struct {
	Reason event.Reason
	// After is how long to wait before another wish, where that helps.
	After time.Duration
	// Receipt names the text at its provider, where Reason is Sent.
	Receipt sms.Receipt

	uncounted bool // what was counted was given back
}

// Resend sends the code of a pending session again, or a new one when it has
// expired. It extends and resets nothing.
func (f *Flow) Resend(ctx context.Context, g *Gate, c *Call) (*session.Session, Sending, error) {
	ctx, cancel := detached(ctx, sendTime+5*time.Second)
	defer cancel()
	return f.send(ctx, g, c, c.Session, asked, challengeOf)
}

// SetNumber takes the number of a user who has none yet and sends the code
// there. input is what a person typed.
func (f *Flow) SetNumber(ctx context.Context, g *Gate, c *Call, input string) (*session.Session, Sending, error) {
	ctx, cancel := detached(ctx, sendTime+5*time.Second)
	defer cancel()
	st, err := f.Challenge(c.Session)
	if err != nil {
		return nil, Sending{}, err
	}
	if !st.Enrol {
		// A number that exists is not changed during a login (attack F6).
		return c.Session, Sending{Reason: event.Denied}, nil
	}
	if g.Uninvited(st) {
		f.emit(ctx, g, c.Session, event.Event{Name: event.Send, Reason: event.NotInvited})
		return c.Session, Sending{Reason: event.NotInvited}, nil
	}
	if g.Enroll != Invite {
		if shut, err := f.shut(ctx); err != nil {
			return nil, Sending{}, err
		} else if shut {
			f.emit(ctx, g, c.Session, event.Event{Name: event.Send, Reason: event.EnrolmentShut})
			return c.Session, Sending{Reason: event.EnrolmentShut}, nil
		}
	}
	n, reason := f.parse(input)
	if reason != event.OK {
		f.emit(ctx, g, c.Session, event.Event{Name: event.Send, Reason: reason})
		return c.Session, Sending{Reason: reason}, nil
	}
	return f.send(ctx, g, c, c.Session, unasked, func(r session.Record) (challenge.State, error) {
		st, err := challengeOf(r)
		return st.SetNumber(n.E164()), err
	})
}

// parse reads a number as a person typed it. The reason is OK, or why no text
// may go there.
func (f *Flow) parse(input string) (phone.Number, event.Reason) {
	n, err := phone.Parse(input, f.region())
	if err == nil {
		err = f.Phones.Check(n)
	}
	switch {
	case err == nil:
		return n, event.OK
	case errors.Is(err, phone.ErrCountry):
		return n, event.BadCountry
	case errors.Is(err, phone.ErrType):
		return n, event.BadNumberType
	}
	return n, event.BadNumber
}

// region is the country that a number without country code is read in.
func (f *Flow) region() string {
	if len(f.Phones.Countries) == 1 {
		return f.Phones.Countries[0]
	}
	return ""
}

// wish says whether a person wants this very text. A number that is marked gets
// only those, and those of a person who was told.
type wish bool

const (
	asked   wish = true
	unasked wish = false
)

// send writes and counts a text, then hands it over: a crash in between costs a
// text, never a limit. next gives the challenge whose code is wanted, from the
// newest record; an error of it that is one of the flow's refusals becomes the
// reason.
func (f *Flow) send(ctx context.Context, g *Gate, c *Call, s *session.Session, w wish, next func(session.Record) (challenge.State, error)) (*session.Session, Sending, error) {
	now, err := f.Store.Now(ctx)
	if err != nil {
		return nil, Sending{}, err
	}
	a, standing, err := f.Accounts.Look(ctx, g.Users, s.User)
	switch {
	case err != nil:
		return nil, Sending{}, err
	case standing.Locked:
		return s, Sending{Reason: lockReason(standing.Disabled)}, nil
	case a.Epoch != s.Epoch:
		return s, Sending{Reason: event.UnknownHandle}, nil // reset meanwhile
	}

	st, err := next(s.Record)
	if gone(err) {
		return s, Sending{Reason: event.UnknownHandle}, nil
	} else if err != nil {
		return nil, Sending{}, err
	}
	d := f.draft(g, c, s.User, st, w)
	var soon *Sending
	sent, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		was, err := next(r)
		if err != nil {
			return r, err
		}
		wait, more := was.Wait(f.Codes, now)
		switch {
		case !more:
			soon = &Sending{Reason: event.NoMoreSends, After: wait}
			return r, errNotNow
		case wait > 0, was.Number != d.number: // another request has named another number
			soon = &Sending{Reason: event.TooSoon, After: wait}
			return r, errNotNow
		}
		if c.Template != "" {
			was.Template = c.Template
		}
		d.before, st = was, was.Send(f.Codes, now).Counted(d.client)
		r.Challenge = encode(st)
		return r, nil
	}, d.counts()...)
	if err != nil {
		d.undo(ctx)
	}
	if errors.Is(err, errNotNow) {
		f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: soon.Reason})
		return s, *soon, nil
	} else if gone(err) {
		return s, Sending{Reason: event.UnknownHandle}, nil
	} else if err != nil {
		return nil, Sending{}, err
	}
	return f.deliver(ctx, g, sent, st, d)
}

var errNotNow = errors.New("not now")

// draft is a text before it is written and counted.
type draft struct {
	number string
	to     phone.Number
	// bad: no text goes to the number, such as one of a country that was taken off
	// the list.
	bad    error
	taking *limit.Taking // nil where nothing is to be counted
	// mark looks for the number's mark, where one would keep the text; nil elsewhere.
	mark *store.Op
	// before is the challenge without this text.
	before  challenge.State
	network string // the client's
	client  string // the same, as the challenge keeps it
}

func (f *Flow) draft(g *Gate, c *Call, user string, before challenge.State, w wish) draft {
	d := draft{number: before.Number, before: before, network: c.network()}
	d.client = f.Limits.Client(d.network)
	if d.to, d.bad = phone.Parse(d.number, ""); d.bad == nil {
		d.bad = f.Phones.Check(d.to)
	}
	if d.bad == nil {
		d.taking = f.Limits.Prepare(f.text(g, user, d.to, d.network, before.Unproven()))
		if f.Receipts != nil && w == unasked && before.Marked == "" {
			d.mark = f.Limits.MarkOp(d.to.E164())
		}
	}
	return d
}

// counts are the calls that count the text, and look whether it may go.
func (d draft) counts() []*store.Op {
	switch {
	case d.taking == nil:
		return nil
	case d.mark != nil:
		return append(slices.Clone(d.taking.Ops), d.mark)
	}
	return d.taking.Ops
}

// undo gives back what was counted.
func (d draft) undo(ctx context.Context) {
	if d.taking != nil {
		d.taking.Undo(context.WithoutCancel(ctx))
	}
}

// deliver hands over the text of a challenge that is written and counted, and
// notes when that fails, and its id where the provider wants to know whether the code
// was given back. The text to a marked number is taken back.
func (f *Flow) deliver(ctx context.Context, g *Gate, s *session.Session, st challenge.State, d draft) (*session.Session, Sending, error) {
	mark, err := limit.MarkOf(d.mark)
	if err != nil {
		d.undo(ctx)
		return nil, Sending{}, err
	}
	var result Sending
	if mark.Why != "" {
		d.undo(ctx)
		result.Reason = mark.Why
		f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: mark.Why, Detail: d.to.Masked()})
	} else if result = f.hand(ctx, g, s, st, d); result.Reason == event.Sent && !result.Receipt.Confirm {
		return s, result, nil
	}
	next, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		cur, err := challengeOf(r)
		if err != nil {
			return r, err
		}
		if cur.ID == st.ID && cur.Sends == st.Sends {
			switch {
			case mark.Why != "":
				cur = d.before
				cur.Marked = mark.Why
			case result.Reason == event.Sent:
				cur.Text = &challenge.TextID{Provider: result.Receipt.Provider, ID: result.Receipt.ID}
			default:
				if cur.Failed = result.Reason; result.uncounted {
					cur = cur.Uncounted()
				}
			}
			r.Challenge = encode(cur)
		}
		return r, nil
	})
	switch {
	case err == nil:
		return next, result, nil
	case result.Reason == event.Sent: // only its provider will not hear of the code
		return s, result, nil
	}
	return nil, Sending{}, err
}

// hand gives a text to the providers, unless a limit is reached.
func (f *Flow) hand(ctx context.Context, g *Gate, s *session.Session, st challenge.State, d draft) Sending {
	n := d.to
	if d.bad != nil {
		f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: event.BadNumber, Err: d.bad})
		return Sending{Reason: event.BadNumber, uncounted: true}
	}
	err := d.taking.Settle(ctx)
	var ex *limit.Exceeded
	switch {
	case errors.As(err, &ex):
		f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: ex.Reason, Detail: n.Masked()})
		return Sending{Reason: ex.Reason, After: ex.After, uncounted: true}
	case err != nil:
		f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: event.StoreDown, Err: err})
		return Sending{Reason: event.StoreDown, uncounted: true}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	m := f.message(g, st, n)
	if f.Listening() {
		m.Ref = f.textRef(st, 0)
	}
	receipt, err := f.SMS.Send(ctx, m)
	if err == nil {
		f.failedOver(ctx, g, s, receipt)
		f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: event.Sent, Detail: n.Masked() + " by " + receipt.Provider})
		f.await(g, s, st, d.network, m.Ref, receipt)
		return Sending{Reason: event.Sent, Receipt: receipt}
	}
	result := Sending{Reason: event.GatewayDown}
	if se, ok := errors.AsType[*sms.Error](err); ok {
		if se.Kind == sms.Refused {
			result.Reason = cmp.Or(event.Reason(se.Why), event.NumberRefused)
		}
		if !se.Sent {
			d.undo(ctx)
			result.uncounted = true
		}
		if f.Receipts != nil && se.Kind == sms.Refused && se.Why.AboutNumber() {
			if err := f.Limits.Mark(context.WithoutCancel(ctx), n.E164(), result.Reason); err != nil {
				f.emit(ctx, g, s, event.Event{Name: event.StoreFailed, Reason: event.StoreDown, Err: err})
			}
		}
	}
	f.emit(ctx, g, s, event.Event{Name: event.Send, Reason: result.Reason, Detail: n.Masked(), Err: err})
	return result
}

// failedOver reports senders that did not accept a text which another one did: the
// person has noticed nothing, and the operator should.
func (f *Flow) failedOver(ctx context.Context, g *Gate, s *session.Session, r sms.Receipt) {
	if r.Before == nil {
		return
	}
	e := event.Event{Name: event.FailedOver, Reason: event.GatewayDown, Detail: "accepted by " + r.Provider, Err: r.Before}
	if r.Before.Sent {
		e.Reason = event.TwoCopies
	}
	f.emit(ctx, g, s, e)
}

// message is the text of a challenge's code.
func (f *Flow) message(g *Gate, st challenge.State, n phone.Number) sms.Message {
	texts := f.texts(st.Template)
	lang := texts.Match(st.Lang)
	text := texts.Render(lang, sms.Vars{
		Code: st.Code, App: g.App, Minutes: int(st.Life(f.Codes) / time.Minute), Host: g.Origin,
	})
	return sms.Message{To: n.E164(), Text: text, Code: st.Code, Lang: lang, Validity: st.Life(f.Codes), Repeatable: true}
}

// await waits for the receipt of a text, where another provider is to send it
// when there is none.
func (f *Flow) await(g *Gate, s *session.Session, st challenge.State, network, ref string, by sms.Receipt) {
	if !f.Listening() {
		return
	}
	if after := f.Receipts.Patience(by); after > 0 {
		only := &session.Session{ID: s.ID, Record: session.Record{User: s.User}}
		f.overdue.await(&unconfirmed{ref: ref, g: g, s: only, id: st.ID, sends: st.Sends, network: network, by: by}, after)
	}
}

func (f *Flow) text(g *Gate, user string, n phone.Number, network string, unproven bool) limit.Text {
	return limit.Text{App: g.Users, User: user, Number: n.E164(), Prefix: n.Prefix(), Country: n.Region(), Network: network, Unproven: unproven}
}

// tell sends the owner of a number a text that nobody asked for. It is counted,
// but not against what waits for an answer, or an attacker's logins could keep
// it from coming. Where no sender has words for it nothing is tried; whoever
// configures the senders says so once.
func (f *Flow) tell(ctx context.Context, g *Gate, user, number, network, lang string, what sms.Notice) {
	if s, ok := f.SMS.(sms.CodesOnly); ok && s.CodesOnly() {
		return
	}
	n, err := phone.Parse(number, "")
	if err != nil {
		return
	}
	say := func(reason event.Reason, err error) {
		f.emit(ctx, g, nil, event.Event{Name: event.Send, Reason: reason, User: user, Detail: string(what) + " notice " + n.Masked(), Err: err})
	}
	taken, err := f.Limits.TakeNotice(ctx, f.text(g, user, n, network, false))
	if ex, ok := errors.AsType[*limit.Exceeded](err); ok {
		say(ex.Reason, nil)
		return
	} else if err != nil {
		say(event.StoreDown, err)
		return
	}
	lang = f.Texts.Match(lang)
	text := f.Texts.Notice(what, lang, sms.Vars{App: g.App})
	receipt, err := f.SMS.Send(ctx, sms.Message{To: n.E164(), Text: text, Lang: lang, Validity: time.Hour})
	if err != nil {
		taken.Undo(context.WithoutCancel(ctx))
		say(event.GatewayDown, err)
		return
	}
	f.failedOver(ctx, g, nil, receipt)
	say(event.Sent, nil)
}

const (
	// confirmTime bounds what a provider is told of an answered text, and
	// maxConfirming how many are told at a time; with more they are not told.
	confirmTime   = 5 * time.Second
	maxConfirming = 16
)

// confirm tells the provider that the code of a text was given back, where it
// wants to know. Nothing waits for it and nothing fails by it, not even by a
// panic of a foreign sender.
func (f *Flow) confirm(g *Gate, s *session.Session, text *challenge.TextID) {
	c, ok := f.SMS.(sms.Confirmer)
	if !ok || text == nil {
		return
	}
	select {
	case f.confirming <- struct{}{}:
	default:
		return
	}
	go func() {
		// Not the request's context, whose values the request goes on changing.
		ctx, cancel := context.WithTimeout(context.Background(), confirmTime)
		defer cancel()
		err := errors.New("the sender panicked")
		defer func() {
			_ = recover()
			if err != nil {
				f.emit(ctx, g, s, event.Event{Name: event.Feedback, Reason: event.GatewayDown, Err: err})
			}
			<-f.confirming
		}()
		err = c.Confirm(ctx, sms.Receipt{Provider: text.Provider, ID: text.ID})
	}()
}
