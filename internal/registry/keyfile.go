package registry

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"vedette/internal/secret"
	"vedette/schemas"
)

// Bounds of a key file's lines and fields; longer ones are cut.
const (
	keyLineMax  = 2047
	keyFieldMax = 127
)

// KeyLine is one line of a key file.
type KeyLine struct {
	ID, Name, IP string
	Key          secret.String
	// Removed lines only keep their id from being given again.
	Removed bool
	// Line is the number of the line, from 1.
	Line int
}

// ParseClientKeys reads a key file (`client.keys`): `<id> <name> <address> <key>`
// per line. Lines that begin with `#` or a space are skipped, a name that begins
// with `!` or `#` marks a removed agent, the key is the rest of the line. Lines
// that name no usable agent are left out and reported, joined, by number.
//
// Source: spec/enrollment.md §6 "Reading rules".
func ParseClientKeys(r io.Reader) ([]KeyLine, error) {
	var (
		out  []KeyLine
		errs []error
	)
	br := bufio.NewReaderSize(r, 4096)
	for n := 1; ; n++ {
		line, err := readLine(br)
		if line != "" && line[0] != '#' && line[0] != ' ' {
			k, perr := parseKeyLine(line)
			k.Line = n
			if perr != nil {
				if len(errs) < 100 { // the rest would say the same
					errs = append(errs, fmt.Errorf("line %d: %w", n, perr))
				}
			} else if len(out) < agentsMax {
				out = append(out, k)
			}
		}
		if errors.Is(err, io.EOF) {
			return out, errors.Join(errs...)
		}
		if err != nil {
			return out, err
		}
	}
}

// readLine reads a line of any length and keeps its first keyLineMax bytes.
func readLine(br *bufio.Reader) (string, error) {
	var sb strings.Builder
	for {
		part, err := br.ReadSlice('\n')
		if room := keyLineMax - sb.Len(); room > 0 {
			sb.Write(part[:min(len(part), room)])
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return strings.TrimRight(sb.String(), "\r\n"), err
	}
}

func parseKeyLine(line string) (KeyLine, error) {
	f := strings.SplitN(line, " ", 4)
	if len(f) < 4 {
		return KeyLine{}, errors.New("not `id name address key`")
	}
	for i := range f {
		f[i] = f[i][:min(len(f[i]), keyFieldMax)]
	}
	k := KeyLine{ID: f[0], Name: f[1], IP: f[2], Key: secret.String(f[3])}
	if strings.HasPrefix(k.Name, "!") || strings.HasPrefix(k.Name, "#") {
		k.Removed, k.Name = true, k.Name[1:]
	}
	if !schemas.ValidAgentID(k.ID) {
		return k, fmt.Errorf("id %q is not 1 to 8 digits", k.ID)
	}
	if k.Removed {
		return k, nil
	}
	if !schemas.ValidAgentName(k.Name) {
		return k, fmt.Errorf("agent %s: name %q is not allowed", k.ID, k.Name)
	}
	rule, err := schemas.ParseAddressRule(k.IP)
	if err != nil {
		return k, fmt.Errorf("agent %s: address %q: %w", k.ID, k.IP, err)
	}
	k.IP = rule.String()
	if !schemas.ValidAgentKey(k.Key.Reveal()) {
		return k, fmt.Errorf("agent %s: key is not 2 to 128 name characters", k.ID)
	}
	return k, nil
}

// WriteClientKeys writes entries as a key file: live ones first, then the removed.
func WriteClientKeys(w io.Writer, agents []Agent) error {
	bw := bufio.NewWriter(w)
	for _, removed := range []bool{false, true} {
		for _, a := range agents {
			if a.Removed != removed {
				continue
			}
			mark := ""
			if removed {
				mark = "!"
			}
			fmt.Fprintf(bw, "%s %s%s %s %s\n", a.ID, mark, a.Name, a.IP, a.Key.Reveal())
		}
	}
	return bw.Flush()
}
