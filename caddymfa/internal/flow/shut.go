package flow

import (
	"context"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// A store that has lost what it held says of everybody that he has no number. Until
// an operator has looked, nobody gets one by the password alone (attack K33); whom
// an operator invites does.

// shut reports whether that is so now. An error means that nobody can say.
func (f *Flow) shut(ctx context.Context) (bool, error) {
	if f.Birth == nil {
		return false, nil
	}
	s, err := f.Birth.Look(ctx)
	return s.IsShut(), err
}

// beside is a call that goes along with a look for an account, and what tells from
// it whether enrolment is shut.
func (f *Flow) beside() (with []*store.Op, shut func(context.Context) (bool, error)) {
	if f.Birth == nil {
		return nil, f.shut
	}
	o := f.Birth.Op()
	return []*store.Op{o}, func(ctx context.Context) (bool, error) {
		s, err := f.Birth.Saw(ctx, o)
		return s.IsShut(), err
	}
}

// gen is the store's generation: what was trusted or given out in another one is
// over.
func (f *Flow) gen(ctx context.Context) (uint64, error) {
	if f.Birth == nil {
		return 0, nil
	}
	return f.Birth.Generation(ctx)
}
