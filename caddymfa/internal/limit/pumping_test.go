package limit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// town is a country whose people answer their codes, or one whose nobody does.
type town struct {
	country, prefix string
	real            bool
	n               int
}

// ask asks for a text to the next person, each in a block of numbers of his own,
// from as many networks as wanted.
func (o *town) ask(t *testing.T, c *Counter, networks int) event.Reason {
	t.Helper()
	o.n++
	number := fmt.Sprintf("+%s%07d", o.prefix, o.n*10007%10_000_000)
	who := Text{App: "app", User: fmt.Sprint(o.country, o.n), Number: number, Prefix: number[:len(number)-4], Country: o.country, Network: fmt.Sprint(o.country, o.n%networks)}
	if r := refused(t, c, who); r != "" {
		return r
	}
	if o.real {
		if err := c.Answered(context.Background(), who, 1, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	return ""
}

// The attack comes from many networks and goes to one country, where somebody
// earns on every text. What it costs is the floor and some texts more, an hour;
// people of other countries do not notice.
func TestAttack_H_ManyNetworksOneCountry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counter(t, Limits{})
		var alarms []Alarm
		c.Alarm = func(_ context.Context, a Alarm) { alarms = append(alarms, a) }
		bad, good := &town{country: "XB", prefix: "99255", n: 1}, &town{country: "XG", prefix: "44740", real: true, n: 1}
		sent, stopped := 0, event.Reason("")
		for range 3000 {
			switch r := bad.ask(t, c, 1000); r {
			case "":
				sent++
			default:
				stopped = r
			}
			if good.n < 600 {
				if r := good.ask(t, c, 1000); r != "" {
					t.Fatalf("a real user of another country, after %d texts: %s", sent, r)
				}
			}
		}
		t.Logf("3000 wishes within an hour cost %d texts, stopped by %s", sent, stopped)
		if stopped != event.Unanswered || sent > int(Defaults().Conversion.Floor)+1 {
			t.Errorf("%d texts went out, stopped by %q", sent, stopped)
		}
		if len(alarms) != 1 || alarms[0].Of != "XB" || alarms[0].Reason != event.Unanswered {
			t.Errorf("alarms: %+v", alarms)
		}
		time.Sleep(time.Hour)
		if r := bad.ask(t, c, 1000); r != "" {
			t.Errorf("the next window: %s", r)
		}
	})
}

// The attack comes from one network and goes to many countries.
func TestAttack_H_OneNetworkManyCountries(t *testing.T) {
	c := counter(t, Limits{})
	good := &town{country: "XG", prefix: "44740", real: true}
	sent := 0
	for i := range 500 {
		bad := &town{country: fmt.Sprintf("X%d", i%50), prefix: fmt.Sprintf("99%03d", i), n: i}
		number := fmt.Sprintf("+%s%07d", bad.prefix, i)
		if refused(t, c, Text{App: "app", User: fmt.Sprint("pump", i), Number: number, Prefix: number[:len(number)-4], Country: bad.country, Network: "192.0.2.9"}) == "" {
			sent++
		}
		if i < 100 {
			if r := good.ask(t, c, 100); r != "" {
				t.Fatalf("a real user: %s", r)
			}
		}
	}
	t.Logf("500 wishes cost %d texts", sent)
	if sent != int(Defaults().IPSends.N) {
		t.Errorf("%d texts went out", sent)
	}
}

// A country comes back by itself when people answer: a rush in the morning, in
// which nobody has typed the code yet, is no attack.
func TestACountryComesBackWhenPeopleAnswer(t *testing.T) {
	c := counter(t, Limits{Conversion: Conversion{Percent: 50, Floor: 10, Window: time.Hour}})
	slow := &town{country: "XS", prefix: "44741"}
	for range 10 {
		if r := slow.ask(t, c, 100); r != "" {
			t.Fatalf("below the floor: %s", r)
		}
	}
	if r := slow.ask(t, c, 100); r != event.Unanswered {
		t.Fatalf("above the floor: %q", r)
	}
	for range 3 {
		if err := c.Answered(t.Context(), Text{App: "app", User: "x", Number: "+447410000000", Country: "XS"}, 1, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	if r := slow.ask(t, c, 100); r != "" {
		t.Errorf("after three have answered: %s", r)
	}
}

func TestRecordCountsAndRefusesNothing(t *testing.T) {
	c := counter(t, Limits{
		CountrySends: Rate{N: 5, Window: time.Hour, Record: true}, AppSends: Rate{N: 10, Window: time.Hour, Record: true},
		Conversion: Conversion{Percent: 50, Floor: 2, Window: time.Hour, Record: true},
	})
	alarms := map[string]int{}
	c.Alarm = func(_ context.Context, a Alarm) { alarms[fmt.Sprint(a.Reason, " ", a.Of, " ", a.Percent)]++ }
	o := &town{country: "XB", prefix: "99255"}
	for range 20 {
		if r := o.ask(t, c, 100); r != "" {
			t.Fatal(r)
		}
	}
	for _, want := range []string{"country_limit XB 80", "country_limit XB 100", "app_limit app 80", "app_limit app 100"} {
		if alarms[want] != 1 {
			t.Errorf("%s: %d times (%v)", want, alarms[want], alarms)
		}
	}
	if alarms["country_unanswered XB 100"] != 1 {
		t.Errorf("%v", alarms)
	}
}

// The alarm of a limit comes once in a window, however many come at once.
func TestAlarmsComeOnce(t *testing.T) {
	c := counter(t, Limits{Budget: Rate{N: 50, Window: time.Hour}, Conversion: Conversion{Percent: 1, Floor: 1000, Window: time.Hour}})
	var mu sync.Mutex
	alarms := map[int]int{}
	c.Alarm = func(_ context.Context, a Alarm) { mu.Lock(); defer mu.Unlock(); alarms[a.Percent]++ }
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			number := fmt.Sprintf("+4474%08d", i*10007)
			_, _ = take(c, Text{App: "app", User: fmt.Sprint(i), Number: number, Prefix: number[:9], Country: "GB", Network: fmt.Sprint(i)})
		})
	}
	wg.Wait()
	if alarms[80] != 1 || alarms[100] != 0 {
		t.Errorf("%v", alarms)
	}
	number := "+447499999999"
	for range 3 {
		if r := refused(t, c, Text{App: "app", User: "late", Number: number, Prefix: number[:9], Country: "GB", Network: "late"}); r != event.Budget || alarms[100] != 1 {
			t.Errorf("%q, %v", r, alarms)
		}
	}
}
