package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
)

func compareSize() {
	dir, err := os.MkdirTemp("", "caddymfa-size-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var mb [2]float64
	for i, pkg := range []string{"./test/bench/plain", "./cmd/caddymfa"} {
		out := filepath.Join(dir, fmt.Sprint(i))
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			log.Fatal(err)
		}
		info, err := os.Stat(out)
		if err != nil {
			log.Fatal(err)
		}
		mb[i] = float64(info.Size()) / 1e6
	}
	fmt.Printf("stripped binary: %.1f MB, plain Caddy %.1f MB: +%.1f MB\n", mb[1], mb[0], mb[1]-mb[0])
}
