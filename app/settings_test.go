package app

import (
	"encoding/json"
	"strings"
	"testing"

	"vedette/config"
	"vedette/internal/responses"
)

func TestSettingsSayTheSameAsTheConfiguration(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Analyze.LogAll = true
	c.Enroll.Password, c.Enroll.UseSourceIP, c.Enroll.Listen = "hunter2hunter2", true, ":1616"
	c.Ingest.TCP, c.Ingest.UDP, c.Ingest.Syslog.UDP, c.Ingest.Syslog.Allowed = "10.0.0.5:1514", ":1515", []string{":514"}, []string{"10.0.0.0/8"}
	c.ActiveResponse.Commands = []responses.Command{{Name: "block", Executable: "firewall-drop", TimeoutAllowed: true, ExtraArgs: []string{"-x", "1"}}}
	c.ActiveResponse.Responses = []responses.Response{{Command: "block", Location: "local", Level: 10, RulesID: []int{5710, 5712}, Timeout: 600}}
	c.ActiveResponse.WhiteList = []string{"127.0.0.1"}
	s, err := settings(c)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range s.Sections {
		b, err := json.Marshal(x.Value)
		if err != nil {
			t.Fatal(err)
		}
		got[x.Name] = string(b)
	}
	for _, x := range s.Components {
		b, err := json.Marshal(x.Value)
		if err != nil {
			t.Fatal(err)
		}
		got[x.Component+"/"+x.Configuration] = string(b)
	}
	agents := `"agents":{"allow_higher_versions":"no"}}`
	for name, want := range map[string]string{
		"global":            `{"logall":"no","logall_json":"yes","update_check":"no","agents_disconnection_time":"900s","agents_disconnection_alert_time":"0s","white_list":["127.0.0.1"]}`,
		"alerts":            `{"log_alert_level":"3"}`,
		"remote":            `[{"connection":"secure","port":"1514","protocol":["tcp"],"local_ip":"10.0.0.5",` + agents + `,{"connection":"secure","port":"1515","protocol":["udp"],` + agents + `,{"connection":"syslog","port":"514","protocol":["udp"],"allowed-ips":["10.0.0.0/8"]}]`,
		"auth":              `{"disabled":"no","remote_enrollment":"yes","port":"1616","use_source_ip":"yes","force":{"enabled":"yes","key_mismatch":"yes","disconnected_time":"3600s","after_registration_time":"3600s"},"purge":"yes","use_password":"yes","ssl_verify_host":"no"}`,
		"command":           `[{"name":"block","executable":"firewall-drop","timeout_allowed":"yes","extra_args":"-x 1"}]`,
		"active-response":   `[{"disabled":"no","command":"block","location":"local","level":"10","rules_id":"5710,5712","timeout":"600"}]`,
		"request/remote":    `{"remote":[{"connection":"secure","port":"1514","protocol":["TCP"],"local_ip":"10.0.0.5",` + agents + `,{"connection":"secure","port":"1515","protocol":["UDP"],` + agents + `,{"connection":"syslog","port":"514","protocol":["UDP"],"allowed-ips":["10.0.0.0/8"]}]}`,
		"analysis/alerts":   `{"alerts":{"log_alert_level":3}}`,
		"wmodules/wmodules": `{"wmodules":[]}`,
	} {
		if got[name] != want {
			t.Errorf("%s is %s\nwant %s", name, got[name], want)
		}
	}
	for name, text := range got {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s shows the enrollment password: %s", name, text)
		}
	}
	c.Ingest.TCP, c.Ingest.UDP = ":1514", ":1514"
	if s, err = settings(c); err != nil {
		t.Fatal(err)
	}
	if b, _ := json.Marshal(s.Sections[2].Value); !strings.HasPrefix(string(b), `[{"connection":"secure","port":"1514","protocol":["tcp","udp"],`) {
		t.Errorf("one port for both protocols is %s", b)
	}
	c.ActiveResponse.OssecConf = "/no/such/file"
	if _, err := settings(c); err == nil {
		t.Error("a file that is not there gives no error")
	}
}
