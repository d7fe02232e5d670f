package caddymfa

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

// storeCommand tells of the store of a running Caddy.
func storeCommand() *cobra.Command {
	var call adminCall
	cmd := &cobra.Command{
		Use:   "store [confirm]",
		Short: "Says whether the store is the one that it was; confirms a loss",
		Long: `Acts on a running Caddy, through its admin endpoint.

  store          whether people can name a first number, and if not, why
  store confirm  lets them again, after the store has lost what it held

A store that has lost what it held (FLUSHALL, a Redis without its volume, a file that
was deleted or emptied), or was put back to an older state, looks as if nobody had a
number: whoever knows a password could name a number of his own. So nobody names a
first number by the password alone until you have looked. If there is a newer copy,
restore it first; what the store does not know by then, users name again.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path := http.MethodGet, "store"
			if len(args) > 0 {
				if args[0] != "confirm" {
					return fmt.Errorf("%q is no verb of store: use confirm, or none", args[0])
				}
				method, path = http.MethodPost, "store/confirm"
			}
			return call.run(cmd, method, path, tellStore)
		},
	}
	call.flags(cmd)
	return cmd
}

// tellStore writes the state of the store for a person.
func tellStore(w io.Writer, answer []byte) error {
	var s storeState
	if err := json.Unmarshal(answer, &s); err != nil {
		return err
	}
	enrolment := s.Enrolment
	if s.Since != "" {
		enrolment += " since " + s.Since + " (" + s.Reason + ")"
	}
	fmt.Fprintf(w, "store      %s\nenrolment  %s\nlast beat  %s\n", s.Store, enrolment, s.Beat)
	if s.What != "" {
		fmt.Fprintln(w, s.What)
	}
	return nil
}
