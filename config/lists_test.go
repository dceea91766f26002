package config

import (
	"strings"
	"testing"
)

func TestEntriesOfListsAreReadAndLookedAt(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "ingest: {kafka: [{topic: app, format: json}], syslog: {udp: \"127.0.0.1:514\", allowed: [10.0.0.0/8]}}\n"), []string{"VEDETTE_INGEST_SYSLOG_TCP=:601,:602"})
	if err != nil || len(c.Ingest.Kafka) != 1 || c.Ingest.Kafka[0].Topic != "app" || len(c.Ingest.Syslog.UDP) != 1 || len(c.Ingest.Syslog.TCP) != 2 {
		t.Errorf("%v: %+v", err, c.Ingest)
	}
	if c, err := Load("", []string{"VEDETTE_INGEST_KAFKA=[{topic: a}, {topic: b, agent: '007'}]"}); err != nil || len(c.Ingest.Kafka) != 2 || c.Ingest.Kafka[1].Agent != "007" {
		t.Errorf("%v: %+v", err, c.Ingest)
	}
	shown, err := Show(c)
	if err != nil || !strings.Contains(string(shown), "topic: app") || strings.Contains(string(shown), "\n        -:") {
		t.Errorf("%v\n%s", err, shown)
	}
	_, err = Load(write(t, "ingest: {kafka: [{topic: app, fromat: json}], syslog: {udp: \":514\"}}\nagentless: [{name: x, key_file: /no/such}]\n"), []string{"VEDETTE_INGEST_KAFKA_X=1"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"ingest.kafka[0].fromat: unknown key", "ingest.syslog.allowed: empty", "agentless[0].hosts: empty", "agentless[0].key_file: ",
		"agentless[0].known_hosts: empty", "VEDETTE_INGEST_KAFKA_X",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not mentioned: %s\n%v", want, err)
		}
	}
	if _, err := Load("", []string{"VEDETTE_INGEST_KAFKA=[{topik: a}]"}); err == nil || !strings.Contains(err.Error(), "ingest.kafka[0].topik: unknown key") {
		t.Error(err)
	}
	if _, err := Load("", []string{"VEDETTE_INGEST_KAFKA={"}); err == nil || !strings.Contains(err.Error(), "no list of settings") {
		t.Error(err)
	}
}
