package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New(0) })
}

func TestAttack_J16_FloodStaysWithinTheBound(t *testing.T) {
	s := memory.New(1 << 20)
	for i := range 50_000 {
		if _, err := s.Put(t.Context(), fmt.Sprint("k", i), make([]byte, 200), 0, store.Options{TTL: time.Hour, Volatile: true}); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Len(); n > 1<<20/(200+128) {
		t.Fatalf("%d records are over the bound", n)
	}
}
