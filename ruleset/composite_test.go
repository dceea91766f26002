package ruleset_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/schemas"
)

// The tests of this file are a table of all composite rules: the searched events
// (if_matched_…), their number and time, and the values that the events must
// have in common or apart (same_…, different_…).

// jsonDecoder fills static fields by their names, and dynamic ones.
const jsonDecoder = `<decoder name="j"><prematch>^{</prematch><plugin_decoder>JSON_Decoder</plugin_decoder></decoder>`

const (
	baseID, compositeID = 100001, 100010
	jsonBase            = `<rule id="100001" level="3"><decoded_as>j</decoded_as><group>grp,</group><description>base</description></rule>`
)

// searches are the forms of if_matched_…, all true of events of the base rule.
var searches = []string{
	"<if_matched_sid>100001</if_matched_sid>",
	"<if_matched_group>grp</if_matched_group>",
	"<if_matched_regex>common</if_matched_regex><if_sid>100001</if_sid>",
}

// step is one event: its fields, its location, and when it comes.
type step struct {
	fields   map[string]string
	location string
	at       time.Duration
}

// steps gives the rules of events one after the other.
func steps(t *testing.T, rules string, events []step) []int {
	t.Helper()
	p, codes := compile(t, source(jsonDecoder, inGroup(jsonBase, rules), nil))
	if len(codes) > 0 {
		t.Fatalf("problems %v", codes)
	}
	s := logtestSession(t, p)
	start := s.now
	var got []int
	for _, e := range events {
		fields := map[string]string{"text": "common"}
		for k, v := range e.fields {
			fields[k] = v
		}
		raw, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		s.now = start.Add(e.at)
		r, _ := s.event(schemas.Event{Log: raw, Location: "/l" + e.location})
		got = append(got, r.RuleID)
	}
	return got
}

func searching(attrs, search, body string) string {
	return fmt.Sprintf(`<rule id="%d" level="10" %s>%s%s<description>composite</description></rule>`, compositeID, attrs, search, body)
}

func element(search string) string { return search[1:strings.IndexByte(search, '>')] }

func TestCompositeCounts(t *testing.T) {
	t.Parallel()
	for _, search := range searches {
		for _, frequency := range []int{2, 3, 5, 12} {
			t.Run(fmt.Sprintf("%s frequency %d", element(search), frequency), func(t *testing.T) {
				t.Parallel()
				n := 3 * frequency
				var want []int
				for i := 1; i <= n; i++ {
					// From three on, a firing uses up the events it counted. At two every
					// further event fires (§7.2), unless the search meets the event that
					// fired last, which only a search of all events does.
					fires := i%frequency == 0
					if frequency == 2 && element(search) != "if_matched_regex" {
						fires = i >= 2
					}
					if fires {
						want = append(want, compositeID)
					} else {
						want = append(want, baseID)
					}
				}
				got := steps(t, searching(fmt.Sprintf(`frequency="%d" timeframe="60"`, frequency), search, ""), make([]step, n))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestCompositeTime(t *testing.T) {
	t.Parallel()
	const b, c = baseID, compositeID
	sec := func(at ...float64) (events []step) {
		for _, s := range at {
			events = append(events, step{at: time.Duration(s * float64(time.Second))})
		}
		return events
	}
	for _, search := range searches {
		for _, tc := range []struct {
			name, attrs string
			events      []step
			want        []int
		}{
			{"two at the end of the window", `frequency="2" timeframe="10"`, sec(0, 10), []int{b, c}},
			{"two just beyond it", `frequency="2" timeframe="10"`, sec(0, 10.001), []int{b, b}},
			{"three, the first at the end", `frequency="3" timeframe="10"`, sec(0, 5, 10), []int{b, b, c}},
			{"three, the first just beyond", `frequency="3" timeframe="10"`, sec(0, 5, 10.001), []int{b, b, b}},
			{"the window slides", `frequency="3" timeframe="10"`, sec(0, 8, 11, 12), []int{b, b, b, c}},
			{"all at once", `frequency="3" timeframe="1"`, sec(0, 0, 0), []int{b, b, c}},
			{"360 seconds when none is given", `frequency="2"`, sec(0, 360, 720.001), []int{b, c, b}},
		} {
			t.Run(element(search)+" "+tc.name, func(t *testing.T) {
				t.Parallel()
				if diff := cmp.Diff(tc.want, steps(t, searching(tc.attrs, search, ""), tc.events)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// correlations are the names behind same_ and different_, with the field that is
// compared. The first element of each row is how 4.14 writes it today.
var correlations = []struct {
	field     string // as the JSON decoder fills it
	same      []string
	different []string
}{
	{"srcip", []string{"same_srcip", "same_source_ip"}, []string{"different_srcip", "not_same_source_ip"}},
	{"dstip", []string{"same_dstip"}, []string{"different_dstip"}},
	{"srcport", []string{"same_srcport", "same_src_port"}, []string{"different_srcport"}},
	{"dstport", []string{"same_dstport", "same_dst_port"}, []string{"different_dstport"}},
	{"srcuser", []string{"same_srcuser"}, []string{"different_srcuser"}},
	{"dstuser", []string{"same_user"}, []string{"different_user", "not_same_user"}},
	{"id", []string{"same_id"}, []string{"different_id", "not_same_id"}},
	{"url", []string{"same_url"}, []string{"different_url"}},
	{"data", []string{"same_data"}, []string{"different_data"}},
	{"extra_data", []string{"same_extra_data"}, []string{"different_extra_data"}},
	{"status", []string{"same_status"}, []string{"different_status"}},
	{"systemname", []string{"same_system_name"}, []string{"different_system_name"}},
	{"protocol", []string{"same_protocol"}, []string{"different_protocol"}},
	{"action", []string{"same_action"}, []string{"different_action"}},
	{"location", []string{"same_location"}, []string{"different_location"}},
	{"dyn.x", []string{"same_field"}, []string{"different_field", "not_same_field"}},
}

func TestCompositeCorrelations(t *testing.T) {
	t.Parallel()
	const missing = "-"
	for _, row := range correlations {
		pair := func(values ...string) (events []step) {
			for _, v := range values {
				switch {
				case row.field == "location":
					events = append(events, step{location: v})
				case v == missing:
					events = append(events, step{})
				default:
					events = append(events, step{fields: map[string]string{row.field: v}})
				}
			}
			return events
		}
		write := func(name string) string {
			if strings.HasSuffix(name, "_field") {
				return "<" + name + ">" + row.field + "</" + name + ">"
			}
			return "<" + name + "/>"
		}
		for _, search := range searches {
			for _, same := range []bool{true, false} {
				names := row.different
				if same {
					names = row.same
				}
				for _, name := range names {
					t.Run(element(search)+" "+name, func(t *testing.T) {
						t.Parallel()
						rule := searching(`frequency="2" timeframe="60"`, search, write(name))
						for _, tc := range []struct {
							events    []step
							same, dif bool // whether the second event fires
							text      string
						}{
							{pair("A", "A"), true, false, "equal"},
							{pair("A", "B"), false, true, "unequal"},
							{pair("A", "a"), false, true, "unequal by case"},
							{pair(missing, missing), row.field == "location", row.field != "location", "both missing"},
							{pair("A", missing), false, true, "the second missing"},
							{pair(missing, "A"), false, true, "the first missing"},
						} {
							fires := tc.dif
							if same {
								fires = tc.same
							}
							want := []int{baseID, baseID}
							if fires {
								want[1] = compositeID
							}
							if diff := cmp.Diff(want, steps(t, rule, tc.events)); diff != "" {
								t.Errorf("%s (-want +got):\n%s", tc.text, diff)
							}
						}
					})
				}
			}
		}
	}
}

// Each old event is compared with the event at hand, not with the others (E34);
// several elements must all hold.
func TestCompositeCorrelationsTogether(t *testing.T) {
	t.Parallel()
	const b, c = baseID, compositeID
	ev := func(src, user string) step { return step{fields: map[string]string{"srcip": src, "dstuser": user}} }
	for _, tc := range []struct {
		name, attrs, body string
		events            []step
		want              []int
	}{
		{"same and same", `frequency="2"`, "<same_srcip/><same_user/>", []step{ev("1", "a"), ev("1", "b"), ev("2", "a"), ev("1", "a")}, []int{b, b, b, c}},
		{"same and different", `frequency="3"`, "<same_srcip/><different_user/>", []step{ev("1", "a"), ev("1", "b"), ev("2", "c"), ev("1", "c")}, []int{b, b, b, c}},
		{"different is not pairwise", `frequency="3"`, "<different_user/>", []step{ev("1", "a"), ev("1", "a"), ev("1", "b")}, []int{b, b, c}},
		{"events that fail are passed over", `frequency="3"`, "<same_srcip/>", []step{ev("1", "a"), ev("2", "a"), ev("1", "a"), ev("2", "a"), ev("1", "a")}, []int{b, b, b, b, c}},
	} {
		for _, search := range searches {
			t.Run(element(search)+" "+tc.name, func(t *testing.T) {
				t.Parallel()
				if diff := cmp.Diff(tc.want, steps(t, searching(tc.attrs, search, tc.body), tc.events)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}
