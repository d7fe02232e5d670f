package caddymfa

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
)

// usersCommand manages users through the admin endpoint of a running Caddy.
func usersCommand() *cobra.Command {
	var call adminCall
	verbs := slices.Sorted(maps.Keys(acts))
	cmd := &cobra.Command{
		Use:   "users " + strings.Join(verbs, "|") + " [user] [phone|name]",
		Short: "Manages the second factors of users",
		Long: `Acts on a running Caddy, through its admin endpoint. Every act is a line of the log that names who did it.

  list                       the users that the gate keeps something of
  show <user>                number (masked), locks, sessions, recovery codes
  set-phone <user> <number>  a number that you vouch for; sessions and trusted browsers end
  reset <user>               takes the second factor away, with everything that belongs to it
  unlock <user>              forgets wrong codes
  help-desk-code <user>      a code for one login within an hour, in place of a text
  invite <user>              a code by which the user names a number within a week (enroll invite)
  end-sessions <user>        signs the user out everywhere
  alias <user> <name>        another name of the same user, such as an e-mail address`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			verb := args[0]
			if acts[verb] == nil {
				return fmt.Errorf("%q is no verb of users: use %s", verb, strings.Join(verbs, ", "))
			}
			want := map[string]int{"list": 1, "set-phone": 3, "alias": 3}[verb]
			if want == 0 {
				want = 2
			}
			if len(args) != want {
				return fmt.Errorf("users %s takes %d words after it, not %d", verb, want-1, len(args)-1)
			}
			if want > 1 {
				call.op.User = args[1]
			}
			switch {
			case want > 2 && verb == "alias":
				call.op.Alias = args[2]
			case want > 2:
				call.op.Phone = args[2]
			}
			return call.run(cmd, http.MethodPost, "users/"+verb, func(w io.Writer, answer []byte) error { return tell(w, verb, answer) })
		},
	}
	cmd.Flags().StringVar(&call.op.App, "app", "", "the application's name; needed where there are several; <name>@<host> for a host of a wildcard site")
	call.flags(cmd)
	return cmd
}

// tell writes an answer for a person.
func tell(w io.Writer, verb string, answer []byte) error {
	switch verb {
	case "list":
		var users []string
		if err := json.Unmarshal(answer, &users); err != nil {
			return err
		}
		for _, u := range users {
			fmt.Fprintln(w, u)
		}
	case "show":
		var u flow.User
		if err := json.Unmarshal(answer, &u); err != nil {
			return err
		}
		show(w, u)
	default:
		var d done
		if err := json.Unmarshal(answer, &d); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s: %s\n", d.User, d.Done)
		if d.Ended != nil {
			fmt.Fprintf(w, "sessions  %d\n", *d.Ended)
		}
		if d.Code != "" {
			fmt.Fprintf(w, "code      %s\nuntil     %s\n", d.Code, d.Until)
		}
	}
	return nil
}

func show(w io.Writer, u flow.User) {
	number := "none"
	if u.Number != "" {
		number = u.Number
		switch u.From {
		case flow.ByDirectory:
			number += ", from a directory"
		case flow.ByOperator:
			number += ", set by " + u.SetBy
		case flow.ByUser:
			number += ", given by the user"
		}
		if !u.VerifiedAt.IsZero() {
			number += ", since " + u.VerifiedAt.UTC().Format("2006-01-02 15:04 UTC")
		}
	}
	if !u.Invited.IsZero() {
		number += ", invited until " + u.Invited.UTC().Format("2006-01-02 15:04 UTC")
	}
	codes := "none were made"
	if u.Codes >= 0 {
		codes = fmt.Sprintf("%d left", u.Codes)
	}
	locked := "no"
	switch {
	case u.Disabled:
		locked = "yes, until somebody unlocks or resets"
	case u.Locked:
		locked = "until " + u.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	fmt.Fprintf(w, "user      %s\nuid       %s\nnumber    %s\nlocked    %s\nsessions  %d\ncodes     %s\nbrowsers  %d trusted\n",
		u.Name, u.UID, number, locked, u.Sessions, codes, u.Devices)
	if u.Mark != nil {
		fmt.Fprintf(w, "texts     only when asked for: %s, since %s\n", u.Mark.Why, u.Mark.When.Format("2006-01-02 15:04 UTC"))
	}
}
