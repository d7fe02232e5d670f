package portal

import (
	"net/http"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// purposes are what the codes of the steps do.
var purposes = map[string]challenge.Purpose{page.StepConfirm: challenge.Confirm, page.StepNumber: challenge.NewNumber}

// wanted is what the user is on his way to: the name of a route of the settings,
// of a closed list, or "" for their first page.
func (v *visit) wanted() string {
	name := v.c.R.URL.Query().Get("for")
	if v.form != nil {
		name, _ = v.field("for")
	}
	return listed(name)
}

func listed(name string) string {
	switch flow.Aim(name) {
	case flow.ForNumber, flow.ForCodes, flow.ForRemoval:
		return name
	case flow.ForOne:
	}
	return ""
}

// found finds the user's settings, and answers when the store cannot.
func (p *Portal) found(v *visit) (flow.Settings, bool) {
	set, err := p.Flow.Settings(v.c.R.Context(), v.g, v.c.Session)
	if err != nil {
		p.storeDown(v, err)
	}
	return set, err == nil
}

// shown are settings as a page may show them.
func shown(v *visit, set flow.Settings) page.Settings {
	out := page.Settings{
		Ending: ending(set.Number), Changeable: set.Changeable, Removable: set.Removable, Left: set.Codes,
		Trust: set.Trust > 0, Proven: string(set.Proven), Sessions: []page.Seen{}, Devices: []page.Seen{},
	}
	for _, m := range set.Sessions {
		out.Sessions = append(out.Sessions, page.Seen{ID: m.Ref, Browser: m.Agent, Since: m.Started, This: m.Of(v.c.Session)})
	}
	for _, d := range set.Devices {
		out.Devices = append(out.Devices, page.Seen{ID: d.ID, Browser: d.Label, Since: d.Since, Used: d.Used})
	}
	return out
}

func (p *Portal) settings(v *visit) {
	set, ok := p.found(v)
	switch {
	case !ok:
	case v.json:
		page.WriteJSON(v.w, http.StatusOK, shown(v, set))
	default:
		p.page(v, http.StatusOK, page.View{Kind: page.Overview, Settings: shown(v, set)})
	}
}

// done leads to a page of the settings, "" for the first.
func (p *Portal) done(v *visit, to string) {
	at := p.Prefix + "/settings"
	if to != "" {
		at += "/" + to
	}
	if v.json {
		page.WriteJSON(v.w, http.StatusOK, page.Status{Level: string(session.Verified), Location: at})
		return
	}
	p.seeOther(v, at)
}

// not answers a wish that the settings do not offer.
func (p *Portal) not(v *visit, reason event.Reason) {
	if v.json {
		p.fail(v, http.StatusForbidden, reason)
		return
	}
	p.done(v, "")
}

// prove asks for the second factor once more before what is wanted.
func (p *Portal) prove(v *visit, what string) {
	if v.json {
		p.fail(v, http.StatusForbidden, event.ProofNeeded)
		return
	}
	p.seeOther(v, p.Prefix+"/settings/confirm?for="+what)
}

// stepURL is where the code of a step is asked for.
func (p *Portal) stepURL(v *visit, st challenge.State) string {
	if st.For == challenge.NewNumber {
		return p.Prefix + "/settings/number"
	}
	return p.Prefix + "/settings/confirm?for=" + listed(st.Aim)
}

// stepView describes a step of the settings: its code where one is under way,
// else the page that asks for it.
func (p *Portal) stepView(v *visit, st challenge.State, none error) page.View {
	if v.step == "" && st.For == challenge.NewNumber {
		v.step = page.StepNumber
	} else if v.step == "" {
		v.step = page.StepConfirm
	}
	aim := v.wanted()
	if aim == "" && st.For == challenge.Confirm {
		aim = st.Aim
	}
	view := page.View{Kind: page.Number, Regions: p.Regions}
	switch {
	case none == nil && st.For == purposes[v.step] && (v.step != page.StepConfirm || st.Aim == aim) && time.Now().Before(st.LastSend.Add(challenge.Total)) && !v.c.R.URL.Query().Has("number"):
		view = p.codeView(v, st)
		view.Change = v.step == page.StepNumber
	case v.step == page.StepConfirm:
		set, err := p.Flow.Settings(v.c.R.Context(), v.g, v.c.Session)
		if err != nil {
			return page.View{Kind: page.Message, Reason: event.StoreDown}
		}
		view = page.View{Kind: page.Confirm, Ending: ending(set.Number)}
	}
	view.Step, view.For = v.step, aim
	return view
}

// confirming shows the way to prove the second factor once more. It sends
// nothing: that needs a button (attack H2).
func (p *Portal) confirming(v *visit) {
	v.step = page.StepConfirm
	set, ok := p.found(v)
	switch {
	case !ok:
	case v.json:
		page.WriteJSON(v.w, http.StatusOK, shown(v, set))
	case set.Number == "", v.wanted() == "":
		p.done(v, "")
	case set.Proof(flow.Aim(v.wanted())):
		p.done(v, v.wanted())
	case v.c.R.URL.Query().Get("code") == "recovery":
		p.page(v, http.StatusOK, page.View{Kind: page.Recovery, Step: v.step, For: v.wanted()})
	default:
		p.page(v, http.StatusOK, p.challengeView(v))
	}
}

func (p *Portal) confirm(v *visit) {
	v.step = page.StepConfirm
	if v.wanted() == "" { // a proof is for one change, or for nothing
		p.not(v, event.Ambiguous)
		return
	}
	s, sending, err := p.Flow.Confirm(v.c.R.Context(), v.g, v.c, flow.Aim(v.wanted()))
	if err == nil && sending.Reason == event.NoNumber {
		p.not(v, sending.Reason)
		return
	}
	p.sent(v, s, sending, err)
}

// confirmed takes the code of confirm, or a recovery code.
func (p *Portal) confirmed(v *visit) {
	v.step = page.StepConfirm
	field, check := "otp", p.Flow.Confirmed
	if _, state := v.field("backupcode"); state != intake.Absent {
		if v.c.Aim = flow.Aim(v.wanted()); v.c.Aim == "" { // it would be spent for nothing
			p.fail(v, http.StatusBadRequest, event.Ambiguous)
			return
		}
		field, check = "backupcode", p.Flow.Recover
	}
	if res, ok := p.check(v, field, check); ok {
		p.renew(v, res.Session)
		p.done(v, listed(res.Session.ConfirmedFor))
	}
}

func (p *Portal) number(v *visit) {
	v.step = page.StepNumber
	set, ok := p.found(v)
	switch view := p.challengeView(v); {
	case !ok:
	case v.json:
		page.WriteJSON(v.w, http.StatusOK, shown(v, set))
	case !set.Changeable:
		p.done(v, "")
	case view.Kind == page.Number && set.Number != "" && !set.Proof(flow.ForNumber):
		p.prove(v, "number")
	default:
		p.page(v, http.StatusOK, view)
	}
}

func (p *Portal) changeNumber(v *visit) {
	v.step = page.StepNumber
	p.numberTo(v, p.Flow.ChangeNumber)
}

func (p *Portal) proveNumber(v *visit) {
	v.step = page.StepNumber
	set, ok := p.found(v)
	if !ok {
		return
	}
	st, _ := p.Flow.Challenge(v.c.Session)
	res, ok := p.check(v, "otp", p.Flow.ProveNumber)
	if !ok {
		return
	}
	p.renew(v, res.Session)
	if v.json {
		p.done(v, "")
		return
	}
	view := page.View{Kind: page.Changed, Ending: ending(st.Number)}
	if set.Number == "" {
		view.Kind = page.Added
	}
	p.page(v, http.StatusOK, view)
}

func (p *Portal) removing(v *visit) { p.asking(v, "remove", page.Remove) }

func (p *Portal) remove(v *visit) {
	reason, err := p.Flow.RemoveNumber(v.c.R.Context(), v.g, v.c)
	if p.changed(v, "remove", reason, err) {
		p.page(v, http.StatusOK, page.View{Kind: page.Removed})
	}
}

func (p *Portal) codes(v *visit) { p.asking(v, "codes", page.MakeCodes) }

// makeCodes shows recovery codes, this once.
func (p *Portal) makeCodes(v *visit) {
	codes, reason, err := p.Flow.RecoveryCodes(v.c.R.Context(), v.g, v.c, true)
	switch {
	case err == nil && reason == event.OK && v.json:
		p.renew(v, v.c.Session)
		page.WriteJSON(v.w, http.StatusOK, page.BackupCodes{BackUpCodes: codes})
	case p.changed(v, "codes", reason, err):
		p.page(v, http.StatusOK, page.View{Kind: page.Codes, New: codes})
	}
}

// asking shows the page with the button of a change, to whom it is open.
func (p *Portal) asking(v *visit, what string, kind page.Kind) {
	set, ok := p.found(v)
	switch {
	case !ok:
	case v.json:
		page.WriteJSON(v.w, http.StatusOK, shown(v, set))
	case set.Number == "", kind == page.Remove && !set.Removable:
		p.done(v, "")
	case !set.Proof(flow.Aim(what)):
		p.prove(v, what)
	default:
		p.page(v, http.StatusOK, page.View{Kind: kind, Settings: shown(v, set)})
	}
}

// changed reports whether a change was made and a page is to say so; everything
// else is answered.
func (p *Portal) changed(v *visit, what string, reason event.Reason, err error) bool {
	if err == nil && reason == event.OK {
		p.renew(v, v.c.Session) // without the proof that was used
	}
	switch {
	case err != nil:
		p.storeDown(v, err)
	case reason == event.ProofNeeded:
		p.prove(v, what)
	case reason == event.AlreadyUsed: // reset meanwhile: the session is over, or will be
		p.fail(v, http.StatusUnauthorized, event.UnknownHandle)
	case reason != event.OK:
		p.not(v, reason)
	case v.json:
		p.done(v, "")
	default:
		return true
	}
	return false
}

// endSession ends one of the user's sessions, or all others. Names that are not
// the user's are nobody's (M10).
func (p *Portal) endSession(v *visit) {
	p.one(v, "ref", "others", func(ref string) error { return p.Flow.EndSession(v.c.R.Context(), v.g, v.c, ref) },
		func() error { return p.Flow.EndOthers(v.c.R.Context(), v.g, v.c) })
}

func (p *Portal) forgetDevice(v *visit) {
	forget := func(id string) error { return p.Flow.ForgetDevice(v.c.R.Context(), v.g, v.c, id) }
	p.one(v, "id", "all", forget, func() error { return forget("") })
}

// one does something to one of a list, or to all: exactly one of the fields name
// and all says which.
func (p *Portal) one(v *visit, name, allIs string, one func(string) error, all func() error) {
	id, named := v.field(name)
	which, every := v.field("all")
	var err error
	switch {
	case named == intake.Exact && id != "" && every == intake.Absent:
		err = one(id)
	case named == intake.Absent && every == intake.Exact && which == allIs:
		err = all()
	default:
		p.fail(v, http.StatusBadRequest, event.Ambiguous)
		return
	}
	if err != nil {
		p.storeDown(v, err)
		return
	}
	p.done(v, "")
}
