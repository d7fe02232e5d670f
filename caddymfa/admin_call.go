package caddymfa

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	osuser "os/user"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminCall is what the commands have in common that act on a running Caddy, through
// its admin endpoint.
type adminCall struct {
	op                       operation
	address, config, adapter string
	raw                      bool
}

func (c *adminCall) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.op.By, "by", "", "who acts, for the log (default: the user of the system)")
	f.StringVar(&c.address, "address", "", "the admin endpoint (default: that of --config, else Caddy's)")
	f.StringVarP(&c.config, "config", "c", "", "a configuration file that names the admin endpoint")
	f.StringVarP(&c.adapter, "adapter", "a", "", "its adapter")
	f.BoolVar(&c.raw, "json", false, "the answer as JSON")
}

// run acts, and writes the answer: tell does it for a person.
func (c *adminCall) run(cmd *cobra.Command, method, path string, tell func(io.Writer, []byte) error) error {
	if c.op.By == "" {
		if me, err := osuser.Current(); err == nil {
			c.op.By = me.Username
		}
	}
	addr, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return fmt.Errorf("the admin endpoint: %w", err)
	}
	answer, err := c.ask(addr, method, path)
	if err != nil {
		return err
	}
	if c.raw {
		_, err := cmd.OutOrStdout().Write(answer)
		return err
	}
	return tell(cmd.OutOrStdout(), answer)
}

func (c *adminCall) ask(address, method, path string) ([]byte, error) {
	body, err := json.Marshal(c.op)
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, method, adminBase+path, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
	if err != nil {
		return nil, err // Caddy's words, with the admin endpoint's own error
	}
	defer func() { _ = res.Body.Close() }()
	return io.ReadAll(res.Body)
}
