package groups

import (
	"context"
	"crypto/md5"  //nolint:gosec // clients choose
	"crypto/sha1" //nolint:gosec // clients choose
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"

	"vedette/api/problem"
	"vedette/api/rest"
	content "vedette/internal/groups"
)

// Files are the files that agents of each group share; *groups.Store is one.
type Files interface {
	// Files returns a group's files sorted by path, and whether any were ever published.
	Files(group string) ([]content.File, bool)
	// Merged returns the merged file for an agent in these groups.
	Merged(groups []string) *content.Merged
	// Publish replaces a group's files.
	Publish(ctx context.Context, group string, files []content.File) error
}

const (
	agentConf = "agent.conf"
	arConf    = "ar.conf"
)

// sums are the algorithms that the parameter hash names.
var sums = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
	"blake2b": func() hash.Hash { h, _ := blake2b.New512(nil); return h }, "blake2s": func() hash.Hash { h, _ := blake2s.New256(nil); return h },
	"sha3_224": func() hash.Hash { return sha3.New224() }, "sha3_256": func() hash.Hash { return sha3.New256() },
	"sha3_384": func() hash.Hash { return sha3.New384() }, "sha3_512": func() hash.Hash { return sha3.New512() },
}

// sum returns data's sum in hexadecimal; an algorithm that is not known is md5.
func sum(algorithm string, data []byte) string {
	start := sums[algorithm]
	if start == nil {
		start = md5.New
	}
	h := start()
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// Sums returns Service.Sums over the groups' files.
func Sums(files Files) func(group, algorithm string) (merged, config string) {
	return func(group, algorithm string) (merged, config string) {
		m := files.Merged([]string{group})
		if merged = m.Sum; algorithm != "" && algorithm != "md5" {
			merged = sum(algorithm, m.Data)
		}
		if all, _ := files.Files(group); len(all) > 0 {
			if data, ok := fileOf(all, agentConf); ok {
				config = sum(algorithm, data)
			}
		}
		return merged, config
	}
}

func fileOf(files []content.File, path string) ([]byte, bool) {
	i := slices.IndexFunc(files, func(f content.File) bool { return f.Path == path })
	if i < 0 {
		return nil, false
	}
	return files[i].Data, true
}

// groupFiles returns all files of a group's folder: those shared, and the two
// that the server makes.
func (a *Service) groupFiles(g Group) ([]content.File, error) {
	if a.Files == nil {
		return nil, problem.New(problem.NotReady, "")
	}
	shared, _ := a.Files.Files(g.Name)
	out := slices.DeleteFunc(slices.Clone(shared), func(f content.File) bool { return f.Path == arConf })
	if a.ARConf != nil {
		out = append(out, content.File{Path: arConf, Data: a.ARConf})
	}
	out = append(out, content.File{Path: content.MergedName, Data: a.Files.Merged([]string{g.Name}).Data})
	slices.SortFunc(out, func(a, b content.File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// fileItem is a file of a group as lists show it.
type fileItem struct {
	Name string `json:"filename"`
	Hash string `json:"hash"`
}

var fileView = rest.View[fileItem]{}.Init()

type listGroupFiles struct {
	Group Group  `param:"group_id"`
	Hash  string `param:"hash"`
}

func (a *Service) listGroupFiles(c *rest.Call, p *listGroupFiles) (rest.Answer, error) {
	files, err := a.groupFiles(p.Group)
	if err != nil {
		return nil, err
	}
	items := make([]*fileItem, len(files))
	for i, f := range files {
		items[i] = &fileItem{f.Path, sum(p.Hash, f.Data)}
	}
	return fileView.Page(c, items, rest.Messages{All: "All selected groups files were returned", Some: "Some groups files were not returned", None: "No groups files were returned"})
}

type readGroupFile struct {
	Group Group    `param:"group_id"`
	Name  string   `param:"file_name"`
	Type  []string `param:"type"`
	Raw   bool     `param:"raw"`
}

// readGroupFile answers with one file of a group: with raw as it is, else an
// agent.conf or a list of settings taken apart, any other file as an array of its
// lines.
func (a *Service) readGroupFile(_ *rest.Call, p *readGroupFile) (rest.Answer, error) {
	files, err := a.groupFiles(p.Group)
	if err != nil {
		return nil, err
	}
	name := p.Name
	if !rest.Format("alphanumeric", strings.ReplaceAll(name, "/", "")) {
		return nil, problem.Bad("'%.100s' is not a 'alphanumeric' - 'file_name'", name)
	}
	data, ok := fileOf(files, name)
	if !ok {
		return nil, problem.Newf(problem.FileMissing, "The group has no file %.100q", name)
	}
	if p.Raw {
		kind := "text/plain; charset=utf-8"
		if strings.HasSuffix(name, ".conf") && name != arConf || strings.HasSuffix(name, ".xml") {
			kind = "application/xml; charset=utf-8"
		}
		return &rest.File{ContentType: kind, Data: data}, nil
	}
	if name == agentConf {
		blocks, err := content.Blocks(data)
		if err != nil {
			return nil, confProblem(err)
		}
		return &rest.Data{Data: blocks}, nil
	}
	if audit, ok := content.ParseAuditList(name, data); ok {
		return &rest.Data{Data: audit}, nil
	}
	lines := []string{}
	for l := range strings.Lines(strings.ToValidUTF8(string(data), "\ufffd")) {
		lines = append(lines, strings.TrimRight(l, "\r\n"))
	}
	return &rest.Data{Data: lines}, nil
}

type groupID struct {
	Group Group `param:"group_id"`
}

// readGroupConfig answers with a group's agent.conf, taken apart; without one
// there are no parts.
func (a *Service) readGroupConfig(c *rest.Call, p *groupID) (rest.Answer, error) {
	files, err := a.groupFiles(p.Group)
	if err != nil {
		return nil, err
	}
	blocks := []content.Block{}
	if data, ok := fileOf(files, agentConf); ok {
		if blocks, err = content.Blocks(data); err != nil {
			return nil, confProblem(err)
		}
	}
	return &rest.Data{Data: rest.Ordered{
		{Key: "affected_items", Value: rest.Cut(blocks, c.Offset, c.Limit)}, {Key: "total_affected_items", Value: len(blocks)},
	}}, nil
}

// confProblem is the error of an agent.conf, with its place.
func confProblem(err error) error {
	var bad *content.ConfError
	if errors.As(err, &bad) {
		code := problem.BadConfig
		if bad.Syntax {
			code = problem.BadXML
		}
		return problem.Newf(code, "The configuration is refused: line %d: %s", bad.Line, bad.Reason)
	}
	return err
}

type writeGroupConfig struct {
	Group Group  `param:"group_id"`
	File  []byte `body:"raw"`
}

// writeGroupConfig replaces a group's agent.conf and leaves its other files. It
// ends when this node's agents are about to be sent it.
func (a *Service) writeGroupConfig(c *rest.Call, p *writeGroupConfig) (rest.Answer, error) {
	switch {
	case a.Files == nil:
		return nil, problem.New(problem.NotReady, "")
	case len(strings.TrimSpace(string(p.File))) == 0:
		return nil, problem.New(problem.EmptyBody, "")
	case !utf8.Valid(p.File):
		return nil, problem.New(problem.NotUTF8, "")
	}
	if err := content.CheckAgentConf(p.File); err != nil {
		return nil, confProblem(err)
	}
	// Of two changes at once, the second would undo the first.
	if err := rest.Hold(c.Ctx, a.publishing); err != nil {
		return nil, err
	}
	defer func() { <-a.publishing }()
	shared, _ := a.Files.Files(p.Group.Name)
	files := slices.DeleteFunc(slices.Clone(shared), func(f content.File) bool { return f.Path == agentConf })
	err := a.Files.Publish(c.Ctx, p.Group.Name, append(files, content.File{Path: agentConf, Data: p.File}))
	switch {
	case err == nil:
	case c.Ctx.Err() != nil:
		return nil, c.Ctx.Err()
	case errors.Is(err, content.ErrTooLarge):
		return nil, problem.New(problem.GroupsTooLarge, "")
	default:
		a.Log.Warn("a group's configuration was not published", "group", p.Group.Name, "err", err)
		return nil, problem.New(problem.OrderFailed, "The brokers do not answer; the configuration may have been published or not")
	}
	return &rest.Data{Message: "Agent configuration was successfully updated"}, nil
}
