package groups

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnAgentConfIsTakenApart(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		blocks, err := Blocks([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(blocks)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Error(d)
		}
	}
	f(`<agent_config os="Linux"><localfile><location>/var/log/my.log</location><log_format>syslog</log_format></localfile></agent_config>
<!-- between --><agent_config/>`,
		`[{"filters":{"os":"Linux"},"config":{"localfile":[{"location":"/var/log/my.log","log_format":"syslog"}]}},{"filters":{},"config":{}}]`)
	f(`<agent_config><syscheck><directories realtime="yes">/etc</directories><ignore>/a</ignore><ignore type="sregex">.log$</ignore></syscheck>
<syscheck><frequency>60</frequency></syscheck><wodle name="command"><command>a && b \< c</command></wodle></agent_config>`,
		`[{"filters":{},"config":{"syscheck":{"directories":[{"path":"/etc","realtime":"yes"}],"frequency":"60","ignore":["/a",{"item":".log$","type":"sregex"}]},"wodle":[{"command":"a \u0026\u0026 b \u003c c","name":"command"}]}}]`)
	f(`<agent_config><client><server><address>a</address></server><server><address>b</address></server><x>1</x><x>2</x><x>3</x></client></agent_config>`,
		`[{"filters":{},"config":{"client":{"server":[{"address":"a"},{"address":"b"}],"x":["1","2","3"]}}}]`)
	var bad *ConfError
	if _, err := Blocks([]byte("<agent_config>")); !errors.As(err, &bad) {
		t.Error(err)
	}
}
