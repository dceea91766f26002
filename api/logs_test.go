package api

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"vedette/internal/logring"
)

func serveLogs(t *testing.T) *server {
	t.Helper()
	s := serve(t)
	at := time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	line := func(seconds int, level slog.Level, pkg, text string) logring.Line {
		return logring.Line{Time: at.Add(time.Duration(seconds) * time.Second), Level: level, Package: pkg, Text: text}
	}
	s.fakes.lines = []logring.Line{
		line(6, slog.LevelError+4, "app", "gone"),
		line(5, slog.LevelInfo, "ingest/listen", "a connection ended"),
		line(4, slog.LevelWarn, "internal/kafka", "brokers do not answer err=timeout"),
		line(3, slog.LevelError, "internal/kafka", "refused"),
		line(2, slog.LevelDebug, "ruleset/engine", "looked"),
		line(1, slog.LevelInfo, "forward/activeresponse", "Blocked"),
		line(0, slog.LevelInfo, "", "elsewhere"),
	}
	return s
}

func TestLogsAreFilteredSortedAndCut(t *testing.T) {
	t.Parallel()
	s := serveLogs(t)
	s.fakes.cluster()
	f := func(query string, total int, want ...string) {
		t.Helper()
		for _, path := range []string{"/manager/logs", "/cluster/node1/logs"} {
			got, n := s.items(path+"?"+query, "description")
			if strings.Join(got, "|") != strings.Join(want, "|") || n != total {
				t.Errorf("%s?%s: %q of %d, want %q of %d", path, query, got, n, want, total)
			}
		}
	}
	f("", 7, "gone", "a connection ended", "brokers do not answer err=timeout", "refused", "looked", "Blocked", "elsewhere")
	f("limit=2&offset=1", 7, "a connection ended", "brokers do not answer err=timeout")
	f("tag=vedette:kafka", 2, "brokers do not answer err=timeout", "refused")
	f("tag=WAZUH-REMOTED", 1, "a connection ended")
	f("tag=wazuh-execd", 1, "Blocked")
	f("tag=vedette", 1, "elsewhere")
	f("level=ERROR", 1, "refused")
	f("level=critical", 1, "gone")
	f("level=debug2", 0)
	f("level=info&tag=wazuh-execd", 1, "Blocked")
	f("search=block", 1, "Blocked")
	f("sort=timestamp&limit=1", 7, "elsewhere")
	f("sort=-level,description&limit=1", 7, "brokers do not answer err=timeout")
	f("q=level=warning", 1, "brokers do not answer err=timeout")
	f("q=tag~kafka;level=error", 1, "refused")
	s.shows("/manager/logs?limit=1&offset=2", `[{"description":"brokers do not answer err=timeout","level":"warning","tag":"vedette:kafka","timestamp":"2026-11-28T09:30:04Z"}]`)
	s.shows("/manager/logs?select=level&distinct=true&sort=level", `[{"level":"critical"},{"level":"debug"},{"level":"error"},{"level":"info"},{"level":"warning"}]`)
	s.refused(s.do("GET", "/manager/logs?limit=501", ""), 400, "Bad Request", 0, "greater than the maximum")
	s.refused(s.do("GET", "/manager/logs?level=loud", ""), 400, "Bad Request", 0, "")
	s.refused(s.do("GET", "/manager/logs?tag=a%26b", ""), 400, "Bad Request", 0, "")
	s.refused(s.do("GET", "/manager/logs?sort=nope", ""), 400, "Bad Request", 1403, "")
	s.refused(s.do("GET", "/manager/logs?select=nope", ""), 400, "Bad Request", 1724, "")
}

func TestLogsAreCountedByTagAndLevel(t *testing.T) {
	t.Parallel()
	s := serveLogs(t)
	s.fakes.cluster()
	const want = `[{"vedette":{"all":1,"info":1,"error":0,"critical":0,"warning":0,"debug":0}},` +
		`{"vedette:app":{"all":1,"info":0,"error":0,"critical":1,"warning":0,"debug":0}},` +
		`{"vedette:kafka":{"all":2,"info":0,"error":1,"critical":0,"warning":1,"debug":0}},` +
		`{"wazuh-analysisd":{"all":1,"info":0,"error":0,"critical":0,"warning":0,"debug":1}},` +
		`{"wazuh-execd":{"all":1,"info":1,"error":0,"critical":0,"warning":0,"debug":0}},` +
		`{"wazuh-remoted":{"all":1,"info":1,"error":0,"critical":0,"warning":0,"debug":0}}]`
	s.shows("/manager/logs/summary", want)
	s.shows("/cluster/node1/logs/summary", want)
	for _, path := range []string{"/cluster/outside-node/logs", "/cluster/outside-node/logs/summary"} {
		s.refused(s.do("GET", path, ""), 400, "Bad Request", 3023, "")
	}
	s.as("reader")
	for _, path := range []string{"/manager/logs", "/manager/logs/summary", "/cluster/node1/logs"} {
		s.refused(s.do("GET", path, ""), 403, "Permission Denied", 4000, "")
	}
	s.deps.Logs = nil
	s.rebuild()
	s.as("wazuh")
	s.shows("/manager/logs", `[]`)
	s.shows("/manager/logs/summary", `[]`)
}
