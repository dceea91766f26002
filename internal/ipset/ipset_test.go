package ipset

import "testing"

func TestSet(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		add  []string
		addr string
		want bool
	}{
		{[]string{"10.0.0.0/8"}, "10.1.2.3", true},
		{[]string{"10.0.0.0/255.0.0.0"}, "10.1.2.3", true},
		{[]string{"10.0.0.1"}, "10.0.0.2", false},
		{[]string{"10.0.0.1", "::1"}, "::1", true},
		{[]string{"2001:db8::/32"}, "2001:db8::5", true},
		{[]string{"::ffff:10.0.0.0/104"}, "10.9.9.9", true},
		{[]string{"10.0.0.1"}, "::ffff:10.0.0.1", true},
		{[]string{"!192.168.0.0/16"}, "192.168.1.1", true},
		{[]string{"any"}, "8.8.8.8", true},
		{[]string{"any"}, "host", false},
		{nil, "8.8.8.8", false},
	} {
		var s Set
		for _, a := range tc.add {
			if err := s.Add(a); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Contains(tc.addr); got != tc.want {
			t.Errorf("%v contains %s: %v, want %v", tc.add, tc.addr, got, tc.want)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"", "host", "10.0.0.300", "10.0.0.0/33", "10.0.0.0/255.0.255.0", "10.0.0.0/", "10.0.0.0/-1", "fe80::1%eth0", "::1/255.0.0.0"} {
		var s Set
		if err := s.Add(a); err == nil {
			t.Errorf("%q is accepted", a)
		}
	}
}

func FuzzAdd(f *testing.F) {
	f.Add("10.0.0.0/255.0.0.0", "10.1.1.1")
	f.Add("::ffff:1.2.3.4/97", "1.2.3.4")
	f.Fuzz(func(_ *testing.T, text, addr string) {
		var s Set
		if s.Add(text) == nil {
			s.Contains(addr)
		}
	})
}
