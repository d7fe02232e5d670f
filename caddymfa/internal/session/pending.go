package session

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// MaxPending is how many pending sessions of one user there are at a time. A right
// password makes one, and each holds a withheld answer, so whoever knows one password
// could fill the store. A person has a few, in as many browsers: 20 are more than
// there will be texts for (10 in a day that are not answered), and at 512 KiB each
// they are 10 MiB. The newest stay, because the person is at the newest (attack K20).
const MaxPending = 20

// pendingFor is how long a pending session may live, and so how long it is listed.
const pendingFor = 10 * time.Minute

func pendingKey(app, user string) string { return "q:" + listed("caddymfa pending ", app, user) }

// Waiting counts a pending session that a user is about to have, in the batch that
// writes it. With more than MaxPending of them the oldest have to end, see Crowd.
func (t *Table) Waiting(app, user string) *store.Op {
	return store.AddOp("n"+pendingKey(app, user), 1, pendingFor)
}

// Crowd lists a pending session among its user's, and ends the oldest where there may
// be too many. ended are the sizes of their withheld answers.
func (t *Table) Crowd(ctx context.Context, app string, s *Session, many bool) (ended []int, err error) {
	list := pendingKey(app, s.User)
	// The names of members are in the order of time.
	if err := t.store.Join(ctx, list, fmt.Sprintf("%016x.%s.%d", time.Now().UnixMicro(), s.ID.key(), len(s.Reply)), pendingFor); err != nil {
		return nil, fmt.Errorf("session: pending: %w", err)
	}
	if !many {
		return nil, nil
	}
	all, err := t.store.Members(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("session: pending: %w", err)
	}
	slices.Sort(all)
	for _, m := range all[:max(0, len(all)-MaxPending)] {
		parts := strings.Split(m, ".")
		if len(parts) != 3 {
			continue
		}
		if err := t.store.Delete(ctx, parts[1]); err != nil {
			return ended, fmt.Errorf("session: pending: %w", err)
		}
		if err := t.store.Leave(ctx, list, m); err != nil {
			return ended, fmt.Errorf("session: pending: %w", err)
		}
		size, _ := strconv.Atoi(parts[2])
		ended = append(ended, size)
	}
	return ended, nil
}
