package groups

import (
	"embed"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"vedette/schemas"
)

// startAgentConf is the agent.conf of groups that have none, where the
// configuration names no template. Without the file an agent reports an invalid
// configuration each time that it is sent its group's files.
const startAgentConf = `<agent_config>

  <!-- Settings in here apply to every agent of this group. -->

</agent_config>
`

// Provided are the files that a server adds to the groups' own. They must be the
// same on every node, because agents compare sums.
type Provided struct {
	// ARConf is the file of active responses, which every agent gets.
	ARConf []byte
	// AgentConf is the agent.conf of groups that have none of their own; empty: one
	// without settings.
	AgentConf []byte
}

// complete returns files, sorted by path, with an agent.conf among them.
func (p Provided) complete(files []File) []File {
	if slices.ContainsFunc(files, func(f File) bool { return f.Path == agentConf }) {
		return files
	}
	f := File{Path: agentConf, Data: p.AgentConf}
	if len(f.Data) == 0 {
		f.Data = []byte(startAgentConf)
	}
	i := slices.IndexFunc(files, func(f File) bool { return f.Path > agentConf })
	if i < 0 {
		i = len(files)
	}
	return slices.Insert(slices.Clone(files), i, f)
}

// rootcheck holds the lists by which agents look for rootkits and for weak
// settings. Agents read them from the names that their own configuration has.
//
//go:embed rootcheck/*.txt
var rootcheck embed.FS

// rootcheckFiles are the files of rootcheck, sorted by path.
var rootcheckFiles = func() []File {
	entries, err := rootcheck.ReadDir("rootcheck")
	if err != nil {
		panic("groups: embedded lists: " + err.Error())
	}
	var out []File
	for _, e := range entries {
		data, err := rootcheck.ReadFile(path.Join("rootcheck", e.Name()))
		if err != nil {
			panic("groups: embedded lists: " + err.Error())
		}
		out = append(out, File{Path: e.Name(), Data: data})
	}
	return out
}()

// startFiles are the files of a group for which none were ever published.
func startFiles(group string) []File {
	if group == schemas.DefaultGroup {
		return rootcheckFiles
	}
	return nil
}

// ReadAgentConf reads a file that agents can take as agent.conf. The error says
// the line, if the content is wrong.
func ReadAgentConf(name string) ([]byte, error) {
	// Opening a pipe would wait for somebody who writes to it.
	if st, err := os.Stat(name); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxAgentConfBytes+1))
	if err != nil {
		return nil, err
	}
	if err := CheckAgentConf(data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
