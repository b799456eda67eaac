package sim

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // worlds are small and make much garbage: a third of the time otherwise
	os.Exit(m.Run())
}
