package protocol

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"vedette/schemas"
)

var rules = Rules{ServerVersion: "v4.14.7", GroupExists: func(n string) bool { return n == "default" || n == "web" }}

var source = netip.MustParseAddr("192.0.2.7")

func TestReasonsComeInTheOrderOfTheTable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("g", 256)
	many := make([]string, 129)
	for i := range many {
		many[i] = "g" + strings.Repeat("x", i)
	}
	f := func(line, want string) {
		t.Helper()
		_, err := ParseRequest([]byte(line), source, rules)
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != want {
			t.Errorf("%.80s: got %.120v, want %.120s", line, err, want)
		}
	}
	f("", "Invalid request for new agent")
	f("OSSEC A:'x'", "Invalid agent name: x")
	f("OSSEC A:'x' V:'v9", "Invalid agent name: x")
	f("OSSEC A:'ag' V:'v9.0' G:''", "Agent version must be lower or equal to manager version")
	f("OSSEC A:'ag' V:'"+strings.Repeat("1", 2049)+"'", "Unterminated version field")
	f("OSSEC A:'ag' G:'' IP:'x'", "Invalid group name: Empty Group")
	f("OSSEC A:'ag' G:'"+long+", a,,'", "Invalid group name: "+long[:255]+"... group is too large")
	f("OSSEC A:'ag' G:'"+strings.Repeat("ab,", 22000)+"'", "Invalid group name: "+strings.Repeat("ab,", 85)+"... multigroup is too large")
	f("OSSEC A:'ag' G:'a ,,b'", "Invalid group name: a ,,b... white spaces are not allowed")
	f("OSSEC A:'ag' G:',,b'", "Invalid group name: ,,b... consecutive ',' are not allowed")
	f("OSSEC A:'ag' G:'a*,'", "Invalid group name: a*,... cannot start or end with ','")
	f("OSSEC A:'ag' G:'a*b' IP:'x'", `Invalid group name: a*b... characters '\/:*?"<>|,' are prohibited`)
	f("OSSEC A:'ag' G:'a:b' IP:'x'", "Invalid IP: x")
	f("OSSEC A:'ag' G:'a:b' IP:'10.0.0.1' K:'a", "Unterminated key field")
	f("OSSEC A:'ag' G:'"+strings.Join(many, ",")+"'", "Maximum multigroup reached: Limit is 128")
	f("OSSEC A:'ag' G:'nope,a:b'", "Invalid group name: a:b")
	f("OSSEC A:'ag' G:'..'", "Invalid group name: ..")
	f("OSSEC A:'ag' G:'web,nope'", "Invalid group: nope")
	f("OSSEC A:'ag' IP:'"+strings.Repeat("1", 60)+"'", "Invalid IP: "+strings.Repeat("1", 46))
}

func TestFieldsAreReadOnlyInTheirOrder(t *testing.T) {
	t.Parallel()
	f := func(line string, want Request, address string) {
		t.Helper()
		got, err := ParseRequest([]byte(line), source, rules)
		if err != nil || got.Name != want.Name || got.Version != want.Version || got.KeyHash != want.KeyHash ||
			strings.Join(got.Groups, ",") != strings.Join(want.Groups, ",") || got.Address.Requested() != address {
			t.Errorf("%s: %+v %v", line, got, err)
		}
	}
	f("OSSEC A:'ag' V:'v4.14.99' G:'web,default,web' IP:'src' K:'abc'", Request{Name: "ag", Version: "v4.14.99", Groups: []string{"web", "default"}, KeyHash: "abc"}, "192.0.2.7")
	f("OSSEC A:'ag'junk V:'v99'", Request{Name: "ag"}, "any")
	f("OSSEC A:'ag' G:'web' V:'v99.0.0'", Request{Name: "ag", Groups: []string{"web"}}, "any")
	f("OSSEC A:'ag'  V:'v99.0.0'", Request{Name: "ag"}, "any")
	f("OSSEC A:'ag' K:'abc' IP:'x'", Request{Name: "ag", KeyHash: "abc"}, "any")
	f("OSSEC A:'ag' V:'' IP:'!10.2.0.0/255.255.0.0'", Request{Name: "ag"}, "10.2.0.0/255.255.0.0")
	r := rules
	r.UseSourceIP = true
	if got, err := ParseRequest([]byte("OSSEC A:'ag'"), source, r); err != nil || got.Address.String() != "192.0.2.7" {
		t.Error("the source address is not used", got, err)
	}
}

func TestOnlyTheExactPasswordOpens(t *testing.T) {
	t.Parallel()
	r := rules
	r.Password = "top secret"
	for line, want := range map[string]bool{
		"OSSEC PASS: top secret OSSEC A:'ag'":  true,
		"OSSEC PASS: top secretOSSEC A:'ag'":   false,
		"OSSEC PASS: top secre OSSEC A:'ag'":   false,
		"OSSEC PASS: top secret  OSSEC A:'ag'": false, // then no request follows
		"OSSEC PASS: top secret":               false,
		"OSSEC PASS: ":                         false,
		"OSSEC A:'ag'":                         false,
		"":                                     false,
	} {
		_, err := ParseRequest([]byte(line), source, r)
		if (err == nil) != want {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestOnlyMajorAndMinorAreCompared(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{
		"v4.14.7": false, "v4.14.99": false, "4.14.8": false, "v4.15.0": true, "v5.0": true, "v3.99": false, "abc": false, "": false,
		"v4.9.1": false, "v4.14rc1": false, "v10.0.0.0.0.0": true, "v00000000099.0": false, // only 9 characters are looked at
	} {
		if Higher(v, "v4.14.7") != want {
			t.Errorf("%q: want %v", v, want)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("OSSEC A:'ag' V:'v4.14.99' G:'web,default,web' IP:'src' K:'abc'"))
	f.Add([]byte("OSSEC PASS: x OSSEC A:'ag'"))
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := ParseRequest(line, source, rules)
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) || len(r.Reason) > 1024 || r.Cause == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		if !schemas.ValidAgentName(q.Name) || len(q.Groups) > schemas.GroupsMax || q.Address.String() == "" || len(q.KeyHash) > keyHashMax {
			t.Fatalf("%+v", q)
		}
		if strings.ContainsAny(Success("001", q.Name, q.Address.Requested(), "k"), "\n\x00") {
			t.Fatal("the reply is not one line")
		}
	})
}
