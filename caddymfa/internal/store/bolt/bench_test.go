package bolt

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

func BenchmarkGet(b *testing.B) {
	s := open(b)
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
	for name, volatile := range map[string]bool{"durable": false, "volatile": true} {
		b.Run(name, func(b *testing.B) {
			s, v := open(b), uint64(0)
			value := make([]byte, 512)
			for b.Loop() {
				var err error
				if v, err = s.Put(b.Context(), "k", value, v, store.Options{TTL: time.Hour, Volatile: volatile}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	s := open(b)
	for b.Loop() {
		if _, err := s.Add(b.Context(), "c", 1, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutParallel shows what sharing commits is for.
func BenchmarkPutParallel(b *testing.B) {
	s := open(b)
	value := make([]byte, 512)
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Put(b.Context(), fmt.Sprint("k", n.Add(1)), value, 0, store.Options{TTL: time.Hour}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
