package caddymfa

import (
	"errors"
	"fmt"
	"io"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "mfa",
		Short:     "Explains what the gate does, lists its presets, manages users",
		CobraFunc: func(cmd *cobra.Command) { cmd.AddCommand(verbs()...) },
	})
}

func verbs() []*cobra.Command {
	return []*cobra.Command{presetsCommand(), explainCommand(), lintCommand(), reportCommand(), usersCommand(), storeCommand()}
}

func presetsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "presets [name]",
		Short: "Lists the presets, or shows the lines of one",
		Long:  "Lists the presets that the word preset of the directive mfa knows. With a name, shows the lines that the preset stands for; every one of them can be written in a Caddyfile as well.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, name := range login.Presets() {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return nil
			}
			text, err := login.Preset(args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "report <log file>...",
		Short: "Sums up what mode observe has seen, and ends in ready lines",
		Long: "Reads logs of Caddy in JSON (- is the standard input) and sums up what gates in mode observe have seen: what strangers and users really " +
			"asked for. It ends in lines public, login_flow and deny for the block of mfa; take over what should stay open, and read each before you do.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			o := newObservations()
			for _, file := range files {
				if err := o.readFile(file, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if len(o.apps) == 0 {
				return errors.New("the log holds no observations: is a gate in mode observe, does its log reach level INFO, and is the log's format json?")
			}
			return o.write(cmd.OutOrStdout())
		},
	}
}

func (o *observations) readFile(name string, stdin io.Reader) error {
	if name == "-" {
		return o.read(stdin)
	}
	f, err := os.Open(name) //nolint:gosec // the operator's file
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := o.read(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
