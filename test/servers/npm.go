package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// NPM is a folder of test with what its package-lock.json names; name is one of
// these packages.
func NPM(t testing.TB, folder, name string) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		Missing(t, "node (apt-get install nodejs npm)")
	}
	dir := filepath.Join(Root(t), "test", folder)
	if _, err := os.Stat(filepath.Join(dir, "node_modules", name)); err != nil {
		cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			Missing(t, name+" from the npm registry: "+string(out))
		}
	}
	return dir
}
