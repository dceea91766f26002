package main

import (
	"net"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vedette": func() { os.Exit(Main()) }})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	// A port that is taken while the scripts run.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TAKEN", taken.Addr().String())
			// Each process that a script starts gets ports of its own.
			for _, k := range []string{"ENROLL_LISTEN", "INGEST_TCP", "API_LISTEN", "METRICS_LISTEN", "KAFKA_EMBEDDED_LISTEN"} {
				e.Setenv("VEDETTE_"+k, "127.0.0.1:0")
			}
			return nil
		},
	})
}
