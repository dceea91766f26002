package groups

import (
	"bytes"
	"cmp"
	"crypto/md5" //nolint:gosec // the protocol's
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// File is one file that agents of a group get.
type File struct {
	// Path is relative to the group's directory, with `/`.
	Path string
	Data []byte
}

// MergedName is the file that carries all others to the agent.
const MergedName = "merged.mg"

// agentConf is the file whose parts are put one behind the other for an agent
// of several groups.
const agentConf = "agent.conf"

// Merged is a merged file. It is never changed once made.
type Merged struct {
	// Sum is the MD5 of Data in hexadecimal: what agents report.
	Sum  string
	Data []byte
}

// merge builds the merged file of a group, or of several under their common name.
//
// Source: spec/agent-protocol.md §9 "Groups and merged files".
func merge(name string, arConf []byte, files []File) *Merged {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return comparePaths(a.Path, b.Path) })
	var b bytes.Buffer
	b.WriteString("#" + name + "\n")
	add := func(path string, data []byte) {
		b.WriteString("!" + strconv.Itoa(len(data)) + " " + path + "\n")
		b.Write(data)
	}
	if arConf != nil {
		add("ar.conf", arConf)
	}
	for _, f := range files {
		// The transfer's pieces are texts: a NUL would cut the file.
		if f.Path == "ar.conf" || bytes.IndexByte(f.Data, 0) >= 0 {
			continue
		}
		add(f.Path, f.Data)
	}
	sum := md5.Sum(b.Bytes())
	return &Merged{Sum: hex.EncodeToString(sum[:]), Data: b.Bytes()}
}

// comparePaths orders files by the bytes of their names, with what a directory
// holds at the directory's place.
func comparePaths(a, b string) int {
	for {
		x, restA, dirA := strings.Cut(a, "/")
		y, restB, dirB := strings.Cut(b, "/")
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
		if !dirA || !dirB {
			return cmp.Compare(len(a), len(b)) // one of them is not below the other
		}
		a, b = restA, restB
	}
}

// multigroupName is the first line's name for an agent of several groups: the
// first 8 hexadecimal digits of the SHA-256 of their list.
func multigroupName(groups []string) string {
	sum := sha256.Sum256([]byte(strings.Join(groups, ",")))
	return hex.EncodeToString(sum[:4])
}

// combine copies the groups' files one after the other: a later group's file
// takes the place of an earlier one's, but the parts of agent.conf stand one
// behind the other.
func combine(names []string, of func(group string) []File) []File {
	at := map[string]int{}
	var out []File
	for _, g := range names {
		for _, f := range of(g) {
			if f.Path == agentConf {
				f.Data = append([]byte("<!-- Source file: "+g+"/agent.conf -->\n"), f.Data...)
			}
			i, again := at[f.Path]
			switch {
			case !again:
				at[f.Path] = len(out)
				out = append(out, f)
			case f.Path == agentConf:
				out[i].Data = append(out[i].Data[:len(out[i].Data):len(out[i].Data)], f.Data...)
			default:
				out[i].Data = f.Data
			}
		}
	}
	return out
}
