package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
		args := []string{"ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}
		if recent() {
			args = append(args, "--omit=optional") // Node.js itself, where the system's is too old
		}
		cmd := exec.Command("npm", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			Missing(t, name+" from the npm registry: "+string(out))
		}
	}
	return dir
}

// Node is the Node.js for what lies in a folder that NPM has filled: the system's,
// or one of the npm registry where that is older than playwright takes, as Debian
// 12's is.
func Node(dir string) string {
	if recent() {
		return "node"
	}
	return filepath.Join(dir, "node_modules", ".bin", "node")
}

// recent reports whether the system's Node.js is one that playwright takes.
func recent() bool {
	out, err := exec.Command("node", "--version").Output() // v20.20.2
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	n, bad := strconv.Atoi(major)
	return err == nil && bad == nil && n >= 20
}
