package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/kafka"
)

// Not parallel: the command reads the environment.
func TestInitMakesWhatTheServicesOpen(t *testing.T) {
	dir := t.TempDir()
	for k, v := range map[string]string{
		"DATA_DIR": "data", "CLUSTER_KEY_FILE": "cluster/key", "CLUSTER_HOSTS": "enroll,api,192.0.2.1",
		"ENROLL_PASSWORD_FILE": "enroll/password", "ENROLL_CERTIFICATE": "enroll/server.pem", "ENROLL_KEY": "enroll/server-key.pem",
		"API_CERTIFICATE": "api/server.pem", "API_KEY": "api/server-key.pem",
		// Another system's password is not for init to demand.
		"FORWARD_OPENSEARCH_URLS": "https://indexer:9200", "FORWARD_OPENSEARCH_USERNAME": "u", "FORWARD_OPENSEARCH_PASSWORD_FILE": "absent",
	} {
		if k != "CLUSTER_HOSTS" && k != "FORWARD_OPENSEARCH_URLS" && k != "FORWARD_OPENSEARCH_USERNAME" {
			v = filepath.Join(dir, v)
		}
		t.Setenv("VEDETTE_"+k, v)
	}
	run := func() {
		t.Helper()
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs([]string{"init"})
		root.SetOut(&out)
		root.SetErr(&out)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("init: %v\n%s", err, out.String())
		}
	}
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	run()
	for _, name := range []string{"enroll/server.pem", "api/server.pem"} {
		block, _ := pem.Decode(read(name))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"localhost", "enroll", "api"}; !slices.Equal(cert.DNSNames, want) {
			t.Errorf("%s names %v, want %v", name, cert.DNSNames, want)
		}
		if err := cert.VerifyHostname("192.0.2.1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	files := []string{"cluster/key", "enroll/password", "enroll/server.pem", "enroll/server-key.pem", "api/server.pem", "api/server-key.pem"}
	before := map[string][]byte{}
	for _, name := range files {
		before[name] = read(name)
	}
	run() // as at every `docker compose up`
	for _, name := range files {
		if !bytes.Equal(before[name], read(name)) {
			t.Errorf("a second init changed %s", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("init made a data directory, which it does not need")
	}
}

func TestInitTriesAgainWhatMayPass(t *testing.T) {
	t.Parallel()
	f := func(name string, code *kerr.Error, refusals int32, want bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2097152"}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(broker.Close)
			var asked atomic.Int32
			broker.ControlKey(int16(kmsg.CreateTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
				broker.KeepControl()
				if asked.Add(1) > refusals {
					return nil, nil, false
				}
				req := r.(*kmsg.CreateTopicsRequest)
				resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
				for _, topic := range req.Topics {
					rt := kmsg.NewCreateTopicsResponseTopic()
					rt.Topic, rt.ErrorCode = topic.Topic, code.Code
					resp.Topics = append(resp.Topics, rt)
				}
				return resp, nil, true
			})
			cfg := kafka.Default()
			cfg.Brokers, cfg.Partitions = broker.ListenAddrs(), 1
			c, err := kafka.Connect(cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = makeTopics(t.Context(), c, kafka.Retention{}, slog.New(slog.DiscardHandler))
			if (err == nil) != want {
				t.Fatalf("made: %v, want %v; error %v", err == nil, want, err)
			}
			if !want && !errors.Is(err, code) {
				t.Errorf("error is %v, want it to hold %v", err, code)
			}
		})
	}
	f("a slow broker", kerr.RequestTimedOut, 3, true)
	f("a missing right", kerr.TopicAuthorizationFailed, 1<<30, false)
}

func TestAPlanThatCannotBeCarriedOutDoesNotPass(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2097152"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	for i, partitions := range []int{3, 4} {
		cfg := kafka.Default()
		cfg.Brokers, cfg.Partitions = broker.ListenAddrs(), partitions
		c, err := kafka.Connect(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = makeTopics(t.Context(), c, kafka.Retention{}, slog.New(slog.DiscardHandler))
		if refused := err != nil && !kafka.MayPass(err); refused != (i == 1) {
			t.Errorf("%d partitions: error %v, refused %v, want %v", partitions, err, refused, i == 1)
		}
	}
}
