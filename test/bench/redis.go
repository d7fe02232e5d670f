package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// redisServer is a real Redis of the benchmark's own.
type redisServer struct{ url, dir string }

func startRedis() *redisServer {
	cmd := exec.Command("bash", "test/redis/start-standalone.sh")
	cmd.Env = append(os.Environ(), "REDIS_PORT="+strconv.Itoa(free()))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("redis did not start (apt-get install redis-server): %v", err)
	}
	s := &redisServer{}
	for line := range strings.Lines(string(out)) {
		switch k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k {
		case "REDIS_DIR":
			s.dir = v
		case "ADDR":
			s.url = "redis://" + v
		}
	}
	return s
}

func (s *redisServer) stop() {
	if err := exec.Command("bash", "test/redis/stop.sh", s.dir).Run(); err != nil {
		log.Print(err)
	}
}

// largest is the memory that the largest session takes: of the sessions of one
// login, the verified one.
func (s *redisServer) largest() int64 {
	ctx := context.Background()
	c := s.client()
	defer func() { _ = c.Close() }()
	keys, err := c.Keys(ctx, "mfa:r:{s:*").Result()
	if err != nil || len(keys) == 0 {
		log.Fatalf("no session in Redis: %v, %v", keys, err)
	}
	var most int64
	for _, k := range keys {
		n, err := c.MemoryUsage(ctx, k).Result()
		if err != nil {
			log.Fatal(err)
		}
		most = max(most, n)
	}
	return most
}
