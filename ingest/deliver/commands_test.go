package deliver

import (
	"testing"

	"vedette/schemas"
)

func TestAResponseIsWordedForTheAgentsVersion(t *testing.T) {
	t.Parallel()
	c := &schemas.Command{Text: "a!b$c'd`", Legacy: "old"}
	f := func(version, want string) {
		t.Helper()
		got, why := responseText(c, version)
		if got != want || (want == "") != (why != "") {
			t.Errorf("%s: %q, %q", version, got, why)
		}
	}
	f("Wazuh v4.14.7", c.Text)
	f("Wazuh v4.2.5", c.Text)
	f("Wazuh v5.0.0", c.Text)
	f("Wazuh v4.2.4", `a\\x21b\\x24c\\x27d\\x60`)
	f("Wazuh v4.1.5", "old")
	f("Wazuh v3.13.0", "old")
	f("", "")
}
