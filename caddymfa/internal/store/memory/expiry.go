package memory

import (
	"container/heap"
	"time"
)

// overhead is about what an entry costs beside its bytes: the item, its places
// in a map and in a queue.
const overhead = 192

// item is a record, a counter or a member of a set.
type item struct {
	key, member string
	expires     time.Time // zero: never
	place       int       // in its queue

	value   []byte // of a record
	version uint64 // of a record
	n       int64  // of a counter
}

func (i *item) size() int64 { return int64(len(i.key)+len(i.member)+len(i.value)) + overhead }

func (i *item) gone(now time.Time) bool { return !i.expires.IsZero() && !now.Before(i.expires) }

// queue holds items in the order in which they expire, and counts their bytes.
// Those that never expire come last.
type queue struct {
	items []*item
	bytes int64
}

func (q *queue) add(i *item) {
	q.bytes += i.size()
	heap.Push((*order)(q), i)
}

func (q *queue) remove(i *item) {
	q.bytes -= i.size()
	heap.Remove((*order)(q), i.place)
}

// first is the item that expires first, or nil.
func (q *queue) first() *item {
	if len(q.items) == 0 {
		return nil
	}
	return q.items[0]
}

// due is the first item if it has expired, or nil.
func (q *queue) due(now time.Time) *item {
	if i := q.first(); i != nil && i.gone(now) {
		return i
	}
	return nil
}

// order is a queue as container/heap wants to see it.
type order queue

func (o *order) Len() int { return len(o.items) }

func (o *order) Less(a, b int) bool {
	x, y := o.items[a].expires, o.items[b].expires
	return !x.IsZero() && (y.IsZero() || x.Before(y))
}

func (o *order) Swap(a, b int) {
	o.items[a], o.items[b] = o.items[b], o.items[a]
	o.items[a].place, o.items[b].place = a, b
}

func (o *order) Push(x any) {
	i := x.(*item) //nolint:forcetypeassert // queue.add is the only caller
	i.place = len(o.items)
	o.items = append(o.items, i)
}

func (o *order) Pop() any {
	last := len(o.items) - 1
	i := o.items[last]
	o.items[last] = nil
	o.items = o.items[:last]
	return i
}
