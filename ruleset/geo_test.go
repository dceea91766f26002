package ruleset_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/engine"
)

// places stands for a database: everything in 10.0.0.0/8 is in A, in 192.168.0.0/16 in B.
func places(a netip.Addr) (string, bool) {
	switch {
	case netip.MustParsePrefix("10.0.0.0/8").Contains(a):
		return "A", true
	case netip.MustParsePrefix("192.168.0.0/16").Contains(a):
		return "B", true
	}
	return "", false
}

func TestGeoIP(t *testing.T) {
	t.Parallel()
	const b, c = 100001, 100002
	ev := func(ip string) string { return "T id=1 ip=" + ip + " u=bob f=x" }
	a1, a2, b1, none, text := ev("10.0.0.1"), ev("10.9.9.9"), ev("192.168.0.1"), ev("203.0.113.1"), ev("nowhere")
	composite := func(body string) string {
		return `<rule id="100002" level="10" frequency="2" timeframe="60"><if_matched_sid>100001</if_matched_sid>` + body + `<description>d</description></rule>`
	}
	for _, tc := range []struct {
		name, rule string
		logs       []string
		with       []int // with a database
		without    []int
	}{
		{"condition", child(c, 5, "", "<srcgeoip>^A$</srcgeoip>"), []string{a1, b1, none, text}, []int{c, b, b, b}, []int{b, b, b, b}},
		{"negated, a missing place fails too", child(c, 5, "", `<srcgeoip negate="yes">A</srcgeoip>`), []string{a1, b1, none, text}, []int{b, c, b, b}, []int{b, b, b, b}},
		{"of an address that is not decoded", child(c, 5, "", "<dstgeoip>A</dstgeoip>"), []string{a1}, []int{b}, []int{b}},
		{"same", composite("<same_srcgeoip/>"), []string{a1, b1, a2, none, none}, []int{b, b, c, b, b}, []int{b, b, b, b, b}},
		{"different", composite("<different_srcgeoip/>"), []string{a1, a2, b1}, []int{b, b, c}, []int{b, c, c}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, _ := compile(t, source(decoderT, inGroup(baseRule, tc.rule), nil))
			for _, run := range []struct {
				geo  func(netip.Addr) (string, bool)
				want []int
			}{{places, tc.with}, {nil, tc.without}} {
				s := newSession(t, p, engine.Config{Logtest: true, Geo: run.geo})
				var got []int
				for _, l := range tc.logs {
					r, _ := s.log(l)
					got = append(got, r.RuleID)
				}
				if diff := cmp.Diff(run.want, got); diff != "" {
					t.Errorf("database %v (-want +got):\n%s", run.geo != nil, diff)
				}
			}
		})
	}
}
