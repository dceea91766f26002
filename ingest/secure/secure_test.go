package secure

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zlib"
)

type specKey struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	IP         string `json:"ip"`
	RawKey     string `json:"raw_key"`
	ChannelKey string `json:"channel_key"`
}

type spec struct {
	Keys     []specKey `json:"keys"`
	Messages []struct {
		Name          string `json:"name"`
		Sender        string `json:"sender"`
		Key           int    `json:"key"`
		Method        string `json:"method"`
		Random        string `json:"random"`
		GlobalCounter uint64 `json:"global_counter"`
		LocalCounter  uint32 `json:"local_counter"`
		Payload       string `json:"payload"`
		CompressedHex string `json:"compressed_hex"`
		DatagramHex   string `json:"datagram_hex"`
		TCPFrameHex   string `json:"tcp_frame_hex"`
	} `json:"messages"`
	Reject []struct {
		Reason      string `json:"reason"`
		DatagramHex string `json:"datagram_hex"`
	} `json:"reject"`
	Tolerate []struct {
		Reason      string `json:"reason"`
		DatagramHex string `json:"datagram_hex"`
		Payload     string `json:"payload"`
	} `json:"tolerate"`
	SenderCounters struct {
		Start []uint64   `json:"start"`
		Next  [][]uint64 `json:"next"`
	} `json:"sender_counters"`
	KeepaliveParse []map[string]any `json:"keepalive_parse"`
	EventLocations []struct {
		ID            string  `json:"id"`
		Name          string  `json:"name"`
		IP            string  `json:"ip"`
		Payload       string  `json:"payload"`
		AnalysisInput *string `json:"analysis_input"`
	} `json:"event_locations"`
}

// loadSpec reads the specification's vectors, which are not part of the repository.
func loadSpec(t testing.TB) *spec {
	t.Helper()
	dir := os.Getenv("VEDETTE_SPEC")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "spec")
	}
	b, err := os.ReadFile(filepath.Join(dir, "vectors", "vectors.json"))
	if err != nil {
		t.Skipf("specification vectors are missing (set VEDETTE_SPEC): %v", err)
	}
	var s spec
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func method(s string) Method {
	if s == "blowfish" {
		return Blowfish
	}
	return AES
}

func TestOwnVectorsOpenAndReseal(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		specKey
		Method        string `json:"method"`
		Global        uint64 `json:"global_counter"`
		Local         uint32 `json:"local_counter"`
		Payload       string `json:"payload"`
		CompressedHex string `json:"compressed_hex"`
		UnitHex       string `json:"unit_hex"`
	}
	if err := json.Unmarshal(b, &rows); err != nil || len(rows) == 0 {
		t.Fatal(err)
	}
	d := NewDecoder()
	for _, r := range rows {
		if got := ChannelKey(r.ID, r.Name, r.RawKey); got != r.ChannelKey {
			t.Errorf("channel key %s, want %s", got, r.ChannelKey)
		}
		k := NewKey(r.ID, r.Name, r.RawKey)
		unit := unhex(t, r.UnitHex)
		id, body, err := Split(unit)
		if err != nil || string(id) != r.ID {
			t.Fatal(string(id), err)
		}
		m, err := d.Open(k, body)
		if err != nil || string(m.Payload) != r.Payload || m.Global != r.Global || m.Local != r.Local || m.Method != method(r.Method) {
			t.Errorf("%.40s: %v %+v", r.Payload, err, m)
		}
		if got := SealCompressed(nil, k, method(r.Method), r.ID, unhex(t, r.CompressedHex)); !bytes.Equal(got, unit) {
			t.Errorf("%.40s: sealed differently", r.Payload)
		}
	}
}

func TestSpecMessagesOpenAndReseal(t *testing.T) {
	t.Parallel()
	s := loadSpec(t)
	d := NewDecoder()
	for _, k := range s.Keys {
		if got := ChannelKey(k.ID, k.Name, k.RawKey); got != k.ChannelKey {
			t.Errorf("%s: channel key %s, want %s", k.ID, got, k.ChannelKey)
		}
	}
	for _, v := range s.Messages {
		sk := s.Keys[v.Key]
		k := NewKey(sk.ID, sk.Name, sk.RawKey)
		unit := unhex(t, v.DatagramHex)
		id, body, err := Split(unit)
		if err != nil {
			t.Fatal(v.Name, err)
		}
		m, err := d.Open(k, body)
		if err != nil || string(m.Payload) != v.Payload || m.Global != v.GlobalCounter || m.Local != v.LocalCounter || m.Method != method(v.Method) {
			t.Errorf("%s: %v", v.Name, err)
		}
		if got := SealCompressed(nil, k, method(v.Method), string(id), unhex(t, v.CompressedHex)); !bytes.Equal(got, unit) {
			t.Errorf("%s: sealed differently", v.Name)
		}
		if got := AppendFrame(nil, unit); !bytes.Equal(got, unhex(t, v.TCPFrameHex)) {
			t.Errorf("%s: framed differently", v.Name)
		}
	}
}

func TestSpecBadUnitsAreRefusedAndOddOnesTolerated(t *testing.T) {
	t.Parallel()
	s := loadSpec(t)
	d := NewDecoder()
	open := func(unit []byte) (string, error) {
		id, body, err := Split(unit)
		if err != nil {
			return "", err
		}
		for _, k := range s.Keys {
			if k.ID == string(id) {
				m, err := d.Open(NewKey(k.ID, k.Name, k.RawKey), body)
				return string(m.Payload), err
			}
		}
		return "", errors.New("unknown agent")
	}
	for _, v := range s.Reject {
		if p, err := open(unhex(t, v.DatagramHex)); err == nil {
			t.Errorf("%s: opened as %q", v.Reason, p)
		}
	}
	for _, v := range s.Tolerate {
		if p, err := open(unhex(t, v.DatagramHex)); err != nil || p != v.Payload {
			t.Errorf("%s: %q %v", v.Reason, p, err)
		}
	}
}

func TestSpecSenderCountersRoll(t *testing.T) {
	t.Parallel()
	s := loadSpec(t)
	c := Counter{Global: s.SenderCounters.Start[0], Local: uint32(s.SenderCounters.Start[1])}
	for _, want := range s.SenderCounters.Next {
		if g, l := c.Next(); g != want[0] || uint64(l) != want[1] {
			t.Errorf("got %d %d, want %v", g, l, want)
		}
	}
}

func TestSpecKeepalivesParse(t *testing.T) {
	t.Parallel()
	for _, v := range loadSpec(t).KeepaliveParse {
		k := ParseKeepalive(v["text"].(string))
		got := map[string]string{
			"os_uname": k.OS.Uname, "os_name": k.OS.Name, "os_platform": k.OS.Platform, "os_version": k.OS.Version,
			"os_major": k.OS.Major, "os_minor": k.OS.Minor, "os_codename": k.OS.Codename, "os_arch": k.OS.Arch, "os_build": k.OS.Build,
			"version": k.Version, "config_sum": k.ConfigSum, "merged_sum": k.MergedSum, "agent_ip": k.AgentIP,
		}
		want := map[string]string{}
		for key := range got {
			want[key], _ = v[key].(string)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%.60q:\n%s", v["text"], d)
		}
		var labels []string
		for _, l := range v["labels"].([]any) {
			labels = append(labels, l.(string))
		}
		if d := cmp.Diff(labels, k.Labels); d != "" {
			t.Error(d)
		}
	}
}

func TestSpecEventLocations(t *testing.T) {
	t.Parallel()
	for _, v := range loadSpec(t).EventLocations {
		e, err := ParseEvent([]byte(v.Payload))
		if v.AnalysisInput == nil {
			if err == nil {
				t.Errorf("%s: accepted", v.Payload)
			}
			continue
		}
		if err != nil || e.Qualified(v.ID, v.Name, v.IP) != *v.AnalysisInput {
			t.Errorf("%s: %v, %s", v.Payload, err, e.Qualified(v.ID, v.Name, v.IP))
		}
		if n := e.HeaderLen(v.ID, v.Name, v.IP) + len(e.Text); n != len(*v.AnalysisInput) {
			t.Errorf("%s: header length is off by %d", v.Payload, n-len(*v.AnalysisInput))
		}
	}
}

func TestWhatIsSealedOpens(t *testing.T) {
	t.Parallel()
	k := NewKey("001", "ag1", "key")
	d := NewDecoder()
	for _, level := range []int{0, 1, 9} {
		e := &Encoder{Level: level}
		for _, m := range []Method{AES, Blowfish} {
			for _, n := range []int{1, 2, 7, 8, 9, 15, 16, 17, 200, 320, 321, 5000, MaxPayload} {
				want := bytes.Repeat([]byte("a\x00b"), n)[:n]
				unit, err := e.Append(nil, k, m, "001", 7, 9999999999, 9997, want)
				if err != nil {
					t.Fatal(err)
				}
				id, body, _ := Split(unit)
				got, err := d.Open(k, body)
				if err != nil || !bytes.Equal(got.Payload, want) || string(id) != "001" || got.Global != 9999999999 || got.Local != 9997 {
					t.Errorf("level %d %s %d bytes: %v", level, m, n, err)
				}
			}
		}
		if _, err := e.Append(nil, k, AES, "", 0, 0, 0, nil); !errors.Is(err, ErrPayload) {
			t.Error("empty payload sealed")
		}
		if _, err := e.Append(nil, k, AES, "", 0, 0, 0, make([]byte, MaxPayload+1)); !errors.Is(err, ErrPayload) {
			t.Error("payload too long sealed")
		}
	}
}

// seal is the other side with any text, valid or not.
func sealText(t testing.TB, k *Key, text []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(text)
	_ = w.Close()
	return SealCompressed(nil, k, AES, "", z.Bytes())
}

func TestAZlibBombIsRefusedBeforeItGrows(t *testing.T) {
	t.Parallel()
	k := NewKey("001", "ag1", "key")
	bomb := sealText(t, k, make([]byte, 60<<20)) // 60 MiB in less than one unit
	if len(bomb) > MaxUnit {
		t.Fatal("the bomb does not fit a unit")
	}
	d := NewDecoder()
	if _, err := d.Open(k, bomb); !errors.Is(err, ErrTooLong) {
		t.Errorf("err = %v", err)
	}
	if cap(d.text) > MaxText+1 {
		t.Errorf("grew to %d bytes", cap(d.text))
	}
	if _, err := d.Open(k, sealText(t, k, make([]byte, MaxText+1))); !errors.Is(err, ErrTooLong) {
		t.Errorf("one byte too long: %v", err)
	}
	if _, err := d.Open(k, sealText(t, k, make([]byte, MaxText))); !errors.Is(err, ErrChecksum) {
		t.Errorf("exactly the limit: %v", err)
	}
}

func TestFramesAreCutWhateverTheReadsAre(t *testing.T) {
	t.Parallel()
	var stream []byte
	var want []string
	for _, n := range []int{0, 1, 5, 4096, MaxUnit, 3} {
		u := strings.Repeat("x", n)
		want = append(want, u)
		stream = AppendFrame(stream, []byte(u))
	}
	for name, r := range map[string]io.Reader{
		"whole":           bytes.NewReader(stream),
		"byte by byte":    iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":          iotest.HalfReader(bytes.NewReader(stream)),
		"error with data": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		var got []string
		if err := ReadFrames(r, MaxUnit, func(u []byte) error { got = append(got, string(u)); return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !cmp.Equal(want, got) {
			t.Errorf("%s: cut differently", name)
		}
	}
	none := func([]byte) error { return nil }
	if err := ReadFrames(bytes.NewReader(stream[:len(stream)-1]), MaxUnit, none); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: %v", err)
	}
	if err := ReadFrames(bytes.NewReader([]byte{1, 0, 1, 0}), MaxUnit, none); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("65537 bytes announced: %v", err)
	}
}

func TestLocationsSurviveEscaping(t *testing.T) {
	t.Parallel()
	for _, loc := range []string{"", "/var/log/x", `C:\logs\a|b`, "||::|", "a|", ":"} {
		e, err := ParseEvent([]byte("1:" + EscapeLocation(loc) + ":text: more"))
		if err != nil || e.Location != loc || string(e.Text) != "text: more" {
			t.Errorf("%q: %q %q %v", loc, e.Location, e.Text, err)
		}
	}
	if e, err := ParseEvent([]byte("1:x:a\x00b")); err != nil || string(e.Text) != "a" {
		t.Errorf("text does not end at NUL: %q %v", e.Text, err)
	}
}

func TestOnlyVisibleLabelsAreShown(t *testing.T) {
	t.Parallel()
	got := VisibleLabels([]string{`"env":prod`, `!"hid":1`, `#"sys":2`, `"a.b":say "hi"`, `"env":test`, `"broken`, `"":x`})
	if string(got) != `{"a.b":"say \"hi\"","env":"test"}` {
		t.Errorf("got %s", got)
	}
	if VisibleLabels([]string{`!"x":1`}) != nil {
		t.Error("no visible label gives an object")
	}
}

func TestAHugeKeepaliveFitsAPresenceRecord(t *testing.T) {
	t.Parallel()
	text := "#!-" + strings.Repeat("\x01", 20000) + " |x [" + strings.Repeat("\"", 9000) + "|" + strings.Repeat("p", 9000) + ": 1] - Wazuh v4\n" +
		strings.Repeat("\"k\":v\n", 4000)
	k := ParseKeepalive(text)
	b, _ := json.Marshal(k)
	if len(b) > 40<<10 || !k.LabelsCut || len(k.Labels) != labelsMax {
		t.Errorf("%d bytes, %d labels", len(b), len(k.Labels))
	}
}

func FuzzReadFrames(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 'x', 0, 0, 0, 0})
	f.Add([]byte{1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := ReadFrames(iotest.HalfReader(bytes.NewReader(b)), 300, func(u []byte) error {
			if len(u) > 300 {
				t.Fatal("unit above the maximum")
			}
			again = AppendFrame(again, u)
			return nil
		})
		if !bytes.HasPrefix(b, again) || err == nil && len(again) != len(b) {
			t.Fatal("units are not what was in the stream")
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := NewKey("001", "ag1", "key")
	e := Encoder{}
	for _, m := range []Method{AES, Blowfish} {
		u, _ := e.Append(nil, k, m, "001", 1, 2, 3, []byte("1:x:hello"))
		f.Add(u)
	}
	f.Add([]byte("!001!#AES:0123456789abcdef"))
	f.Add([]byte("!001!:01234567"))
	f.Fuzz(func(t *testing.T, unit []byte) {
		_, body, err := Split(unit)
		if err != nil {
			return
		}
		d := NewDecoder()
		if m, err := d.Open(k, body); err == nil && len(m.Payload) > MaxText {
			t.Fatal("payload above the maximum")
		}
		// An attacker with a key controls the compressed part.
		if text, err := d.inflate(unit); err == nil && len(text) > MaxText {
			t.Fatal("text above the maximum")
		}
	})
}

func FuzzParseKeepalive(f *testing.F) {
	f.Add("#!-Linux |host1 |5.10.0 |#1 SMP |x86_64 [Debian GNU/Linux|debian: 12 (bookworm)] - Wazuh v4.14.7 / ab\n\"env\":prod\nx merged.mg\n")
	f.Add("#!-Microsoft Windows [Ver: 10.0.1] |WIN1 |x86_64 - Wazuh v4\n")
	f.Fuzz(func(t *testing.T, s string) {
		k := ParseKeepalive(s)
		if len(k.Labels) > labelsMax || len(k.OS.Uname) > fieldMax || len(k.Version) > fieldMax {
			t.Fatal("bounds are not kept")
		}
		if l := VisibleLabels(k.Labels); l != nil && !json.Valid(l) {
			t.Fatalf("labels are not JSON: %s", l)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte("1:/var/log/auth.log:text"))
	f.Add([]byte("1:a|:b||:text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEvent(b)
		if err != nil {
			return
		}
		if e.HeaderLen("001", "n", "any")+len(e.Text) != len(e.Qualified("001", "n", "any")) {
			t.Fatal("header length")
		}
		e2, err := ParseEvent([]byte("1:" + EscapeLocation(e.Location) + ":"))
		if err == nil && e2.Location != e.Location {
			t.Fatalf("location %q became %q", e.Location, e2.Location)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k := NewKey("001", "ag1", "key")
	line := []byte("1:/var/log/auth.log:Nov 22 00:55:01 host1 sshd[123]: Invalid user bob from 10.1.2.3 port 22 ssh2")
	for _, m := range []Method{AES, Blowfish} {
		b.Run(m.String(), func(b *testing.B) {
			e := Encoder{Level: 9}
			unit, _ := e.Append(nil, k, m, "001", 1, 2, 3, line)
			_, body, _ := Split(unit)
			d := NewDecoder()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Open(k, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	k := NewKey("001", "ag1", "key")
	line := []byte("1:/var/log/auth.log:Nov 22 00:55:01 host1 sshd[123]: Invalid user bob from 10.1.2.3 port 22 ssh2")
	for _, level := range []int{0, 1, 9} {
		b.Run("level "+string(rune('0'+level)), func(b *testing.B) {
			e := Encoder{Level: level}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = e.Append(dst[:0], k, AES, "001", 1, 2, 3, line)
			}
		})
	}
}
