package redis

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAttack_I8_ServersClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		server := time.Now()
		for _, step := range []struct {
			name         string
			passes, jump time.Duration
			want         time.Duration
		}{
			{"a second passes", time.Second, 0, time.Second},
			{"an answer is overtaken", 0, -100 * time.Millisecond, 0},
			{"and the next is not", time.Second, 100 * time.Millisecond, time.Second},
			{"the clock goes back an hour", time.Second, -time.Hour, time.Second},
			{"and runs", time.Minute, 0, time.Minute},
			{"and goes back again", time.Second, -time.Hour, time.Second},
			{"and runs", time.Minute, 0, time.Minute},
			{"and is set right, and a second ahead", time.Minute, 2*time.Hour + time.Second, time.Minute + time.Second},
			{"and runs", time.Minute, 0, time.Minute},
		} {
			before := c.at(server)
			time.Sleep(step.passes)
			server = server.Add(step.passes + step.jump)
			if got := c.at(server).Sub(before); got != step.want {
				t.Errorf("%s: %s instead of %s", step.name, got, step.want)
			}
		}
	})
}
