package store

import "context"

// Lines are where the writers of one record wait for each other on this node, so that
// only those of other nodes are in each other's way. Records share a line by a byte of
// their key, which should be a random one.
type Lines [256]chan struct{}

// NewLines are lines in which nobody stands.
func NewLines() *Lines {
	l := new(Lines)
	for i := range l {
		l[i] = make(chan struct{}, 1)
	}
	return l
}

// Enter waits until nobody else is in the line of a record. leave is called when the
// caller has written. The error is the context's.
func (l *Lines) Enter(ctx context.Context, record byte) (leave func(), err error) {
	select {
	case l[record] <- struct{}{}:
		return func() { <-l[record] }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
