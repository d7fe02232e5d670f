package flow

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// What becomes of a text. Sending writes nothing for it: the text carries a
// reference that the challenge can make again, and what a provider reports is
// kept under that. So reports may come before the provider has answered, in any
// order, twice and at any node.

// ReceiptPath is where providers report to, below the prefix of our own routes.
const ReceiptPath = "/receipts"

// receiptTTL is how long reports are kept, and believed: a text is of no use
// after its challenge.
const receiptTTL = challenge.Total + time.Minute

// textRef names one copy of a challenge's newest text for its provider: a keyed
// hash, and when it was sent, so that a report that somebody has kept is worth
// nothing later.
func (f *Flow) textRef(st challenge.State, copied int) string {
	h := f.refs.MAC("text", st.ID, fmt.Sprint(st.Sends), fmt.Sprint(copied))
	return hex.EncodeToString(binary.BigEndian.AppendUint32(h[:12], uint32(st.LastSend.Unix()))) //nolint:gosec // until 2106
}

// sentAt is when the text of a reference was sent.
func sentAt(ref string) time.Time {
	b, err := hex.DecodeString(ref)
	if err != nil || len(b) != 16 {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint32(b[12:])), 0)
}

// receipt is what is kept of a text.
type receipt struct {
	State sms.State `json:"s,omitempty"` // Delivered or Failed; empty while nothing final is known
	Why   sms.Why   `json:"w,omitempty"`
	ID    string    `json:"i,omitempty"` // of the copy that it is of
	// Copied: the next provider was asked to send it as well.
	Copied bool `json:"c,omitempty"`
}

// learn is what a report changes. A final state stays; only another copy of the
// text, which a chain may have risked, is still worth waiting for.
func (r receipt) learn(rep sms.Report) (receipt, bool) {
	switch {
	case rep.State != sms.Delivered && rep.State != sms.Failed,
		r.State == sms.Delivered,
		r.State == sms.Failed && (rep.ID == r.ID || rep.State == sms.Failed):
		return r, false
	}
	r.State, r.Why, r.ID = rep.State, rep.Why, rep.ID
	return r, true
}

func receiptKey(ref string) string { return "r:" + ref }

func (f *Flow) receipt(ctx context.Context, ref string) (r receipt, version uint64, err error) {
	rec, err := f.Store.Get(ctx, receiptKey(ref))
	if errors.Is(err, store.ErrNotFound) {
		return receipt{}, 0, nil
	} else if err != nil {
		return receipt{}, 0, fmt.Errorf("receipt: %w", err)
	}
	if err := json.Unmarshal(rec.Value, &r); err != nil {
		return receipt{}, 0, fmt.Errorf("receipt: %w", err)
	}
	return r, rec.Version, nil
}

// changeReceipt changes what is kept, one writer after the other. changed is
// false where change wants nothing written.
func (f *Flow) changeReceipt(ctx context.Context, ref string, change func(receipt) (receipt, bool)) (changed bool, err error) {
	for range 16 {
		r, version, err := f.receipt(ctx, ref)
		if err != nil {
			return false, err
		}
		r, changed := change(r)
		if !changed {
			return false, nil
		}
		_, err = f.Store.Put(ctx, receiptKey(ref), encode(r), version, store.Options{TTL: receiptTTL})
		if !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
	}
	return false, errors.New("receipt: too many writers at once")
}

// Report takes a request that claims to be a provider's report. The reason is
// what became of the text, or why the request is not believed: Forged or
// Ambiguous. An error means that the store failed.
func (f *Flow) Report(ctx context.Context, g *Gate, c sms.Callback) (event.Reason, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	say := func(reason event.Reason, detail string) event.Reason {
		f.emit(ctx, g, nil, event.Event{Name: event.Receipt, Reason: reason, Detail: detail})
		return reason
	}
	rep, err := f.Receipts.Report(c)
	if errors.Is(err, sms.ErrAmbiguous) {
		return say(event.Ambiguous, ""), nil
	} else if err != nil {
		return say(event.Forged, ""), nil
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return "", err
	}
	if now.Sub(sentAt(rep.Ref)) > receiptTTL {
		return say(event.TooLate, ""), nil
	}
	detail := ""
	if rep.Code != "" {
		detail = fmt.Sprintf("code %q", rep.Code[:min(len(rep.Code), 16)])
	}
	changed, err := f.changeReceipt(ctx, rep.Ref, func(r receipt) (receipt, bool) { return r.learn(rep) })
	switch {
	case err != nil:
		return "", err
	case rep.State == sms.Sent:
		return say(event.Sent, ""), nil
	case !changed:
		return say(event.Known, detail), nil
	case rep.State == sms.Delivered:
		f.overdue.done(rep.Ref)
		return say(event.Delivered, ""), nil
	}
	if rep.Why.AboutNumber() {
		if n, err := phone.Parse(rep.To, ""); err == nil {
			if err := f.Limits.Mark(ctx, n.E164(), event.Reason(rep.Why)); err != nil {
				return "", err
			}
		}
	}
	if rep.Why.Elsewhere() {
		f.overdue.now(rep.Ref)
	} else {
		f.overdue.done(rep.Ref)
	}
	return say(event.Reason(rep.Why), detail), nil
}

// Listening reports whether providers are told to report.
func (f *Flow) Listening() bool { return f.Receipts != nil && f.Receipts.Listening() }

// Text is the state of a challenge's newest text, as far as its provider has
// said. The state is "" where nobody would say, or no text has gone out; the
// reason is that of a failure.
func (f *Flow) Text(ctx context.Context, st challenge.State) (sms.State, event.Reason, error) {
	switch {
	case !f.Listening() || st.Code == "":
		return "", "", nil
	case st.Failed != "":
		return sms.Failed, st.Failed, nil
	}
	r, _, err := f.receipt(ctx, f.textRef(st, 0))
	if err == nil && r.Copied && r.State != sms.Delivered {
		r, _, err = f.receipt(ctx, f.textRef(st, 1))
	}
	if err != nil {
		return "", "", err
	}
	if r.State == "" {
		r.State = sms.Sent
	}
	return r.State, event.Reason(r.Why), nil
}
