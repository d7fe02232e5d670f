// Command caddymfa is Caddy with its standard modules and the caddymfa module
// built in: the same binary that xcaddy makes from xcaddy.txt, with the
// versions pinned by this module's go.sum.
package main

import (
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddymfa/caddymfa/caddymfa"
)

func main() {
	caddy.CustomBinaryName = "caddymfa"
	if info, ok := debug.ReadBuildInfo(); ok { // Caddy writes its own version behind it
		caddy.CustomVersion = "caddymfa " + info.Main.Version + ", Caddy"
	}
	caddycmd.Main()
}
