package twiliotest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// install puts the stand-in's npm packages into the user's cache, once for each
// version of its lock file, and returns their folder. Packages under test run in
// parallel, so one installs while the others wait.
func install(dir string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	modules := filepath.Join(cache, "caddymfa-test", "twilio")
	if err := os.MkdirAll(modules, 0o755); err != nil { //nolint:gosec // public packages
		return "", err
	}
	lock, err := os.OpenFile(modules+".lock", os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // our own file
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // which unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}

	wanted, err := os.ReadFile(filepath.Join(dir, "package-lock.json")) //nolint:gosec // the stand-in's own file
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(wanted)
	version := []byte(hex.EncodeToString(sum[:]))
	stamp := filepath.Join(modules, "node_modules", ".installed")                  // gone when they are
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, version) { //nolint:gosec // our own file
		return modules, nil
	}
	// install.sh keeps the modes of the files it copies, which may be read-only.
	_ = os.Remove(filepath.Join(modules, "package.json"))
	_ = os.Remove(filepath.Join(modules, "package-lock.json"))
	out, err := exec.Command("bash", filepath.Join(dir, "install.sh"), modules).CombinedOutput() //nolint:gosec // the stand-in's own script
	if err != nil {
		return "", fmt.Errorf("install.sh: %w: %s", err, out)
	}
	return modules, os.WriteFile(stamp, version, 0o600)
}
