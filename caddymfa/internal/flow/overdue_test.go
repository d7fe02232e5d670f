package flow

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

func TestOverdueTextsWaitWithoutGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var again, busy, most atomic.Int64
		o := newOverdue(func(context.Context, *unconfirmed) {
			now := busy.Add(1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			time.Sleep(time.Second)
			busy.Add(-1)
			again.Add(1)
		})
		before := runtime.NumGoroutine()
		const logins = 10_000
		for i := range logins {
			o.await(&unconfirmed{ref: fmt.Sprint(i)}, 30*time.Second)
		}
		if n := runtime.NumGoroutine() - before; n > 2 {
			t.Errorf("%d goroutines wait", n)
		}
		for i := range logins - 100 {
			o.done(fmt.Sprint(i)) // delivered
		}
		o.now(fmt.Sprint(logins - 1)) // failed: at once
		time.Sleep(1500 * time.Millisecond)
		if again.Load() != 1 {
			t.Errorf("%d sent at once", again.Load())
		}
		time.Sleep(time.Minute)
		if again.Load() != 100 || most.Load() > maxAgain || len(o.waiting) != 0 {
			t.Errorf("%d sent again, %d at once, %d wait", again.Load(), most.Load(), len(o.waiting))
		}
		synctest.Wait()
		if o.busy != 0 {
			t.Errorf("%d workers stay", o.busy)
		}
		o.close()
	})
}

func TestOverdueTextsEndWithTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var again, ended atomic.Int64
		o := newOverdue(func(ctx context.Context, _ *unconfirmed) {
			again.Add(1)
			<-ctx.Done()
			ended.Add(1)
		})
		for i := range 100 {
			o.await(&unconfirmed{ref: fmt.Sprint(i)}, time.Duration(10+i%2)*time.Second)
		}
		time.Sleep(10500 * time.Millisecond)
		o.close()
		if again.Load() != maxAgain || ended.Load() != maxAgain {
			t.Errorf("%d were begun, %d ended", again.Load(), ended.Load())
		}
		o.await(&unconfirmed{ref: "late"}, time.Second)
		o.now("1")
		time.Sleep(time.Minute)
		if again.Load() != maxAgain {
			t.Errorf("%d after the end", again.Load())
		}
	})
}

// TestReceiptsAreMonotone: whatever comes in whatever order, a text that has
// arrived stays so, and what one copy has come to stays so.
func TestReceiptsAreMonotone(t *testing.T) {
	rep := func(id string, s sms.State, w sms.Why) sms.Report { return sms.Report{ID: id, State: s, Why: w} }
	sent, failed, delivered := rep("1", sms.Sent, ""), rep("1", sms.Failed, sms.Dead), rep("1", sms.Delivered, "")
	other, lost := rep("2", sms.Delivered, ""), rep("2", sms.Failed, sms.Blocked)
	for name, tc := range map[string]struct {
		reports []sms.Report
		want    receipt
	}{
		"on its way":                   {[]sms.Report{sent, sent}, receipt{}},
		"delivered":                    {[]sms.Report{sent, delivered, sent, failed}, receipt{State: sms.Delivered, ID: "1"}},
		"failed":                       {[]sms.Report{failed, sent, delivered}, receipt{State: sms.Failed, Why: sms.Dead, ID: "1"}},
		"the first of two reasons":     {[]sms.Report{failed, lost}, receipt{State: sms.Failed, Why: sms.Dead, ID: "1"}},
		"a risked copy has arrived":    {[]sms.Report{failed, other, lost}, receipt{State: sms.Delivered, ID: "2"}},
		"a risked copy has not":        {[]sms.Report{delivered, lost}, receipt{State: sms.Delivered, ID: "1"}},
		"a state that nobody knows of": {[]sms.Report{rep("1", "moon", "")}, receipt{}},
	} {
		var r receipt
		for _, one := range tc.reports {
			r, _ = r.learn(one)
		}
		if r != tc.want {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
