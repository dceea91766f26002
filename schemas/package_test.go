package schemas

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPackageSurvivesItsRecord(t *testing.T) {
	t.Parallel()
	p := Package{File: "wazuh_agent_v4.14.7_linux_x86_64.deb.wpk", SHA256: strings.Repeat("0a", 32), Size: 5 << 20, Node: "node1", Time: time.UnixMilli(1795309100271).UTC()}
	rec, err := p.Record()
	if err != nil {
		t.Fatal(err)
	}
	rec = goldenFile(t, "package-v1.json", rec)
	if got, err := ParsePackage(&rec); err != nil || cmp.Diff(p, got) != "" {
		t.Error(err, cmp.Diff(p, got))
	}
	for _, bad := range []func(*Package){
		func(p *Package) { p.File = "" }, func(p *Package) { p.SHA256 = "x" }, func(p *Package) { p.Size = 0 }, func(p *Package) { p.Size = MaxPackageBytes + 1 },
	} {
		q := p
		bad(&q)
		if _, err := q.Record(); !errors.Is(err, ErrPackage) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	for _, value := range []string{"", "{", `{"v":2}`, `{"v":1}`, strings.Replace(string(rec.Value), "0a", "0b", 1)} {
		if _, err := ParsePackage(&Record{Key: rec.Key, Value: []byte(value)}); !errors.Is(err, ErrPackage) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestRecordsOfPackagesAreToldByTheirKeys(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0a", 32)
	f := func(key string, chunk int, want bool) {
		t.Helper()
		s, n, ok := PackageOf([]byte(key))
		if ok != want || want && (s != sum || n != chunk) {
			t.Errorf("%s: %s %d %v", key, s, n, ok)
		}
	}
	f(string(PackageChunk(sum, 3, nil).Key), 3, true)
	f(string(PackageTombstone(sum).Key), -1, true)
	for _, key := range []string{"", "package/", "package/00/1", "package/" + sum + "/", "package/" + sum + "/-1", "package/" + sum + "/512", "package/" + sum + "/1/2", "shared/" + sum + "/1"} {
		f(key, 0, false)
	}
	if PackageChunks(1) != 1 || PackageChunks(MaxFileChunkBytes) != 1 || PackageChunks(MaxFileChunkBytes+1) != 2 {
		t.Error("chunks are miscounted")
	}
}
