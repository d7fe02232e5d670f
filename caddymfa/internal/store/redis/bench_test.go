package redis

import (
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/test/servers"
)

func BenchmarkGet(b *testing.B) {
	s := open(b, Config{URLs: []string{servers.Redis(b).URL}})
	if _, err := s.Put(b.Context(), "k", make([]byte, 512), 0, store.Options{TTL: time.Hour}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s, v := open(b, Config{URLs: []string{servers.Redis(b).URL}}), uint64(0)
	value := make([]byte, 512)
	for b.Loop() {
		var err error
		if v, err = s.Put(b.Context(), "k", value, v, store.Options{TTL: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	s := open(b, Config{URLs: []string{servers.Redis(b).URL}})
	for b.Loop() {
		if _, err := s.Add(b.Context(), "c", 1, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
