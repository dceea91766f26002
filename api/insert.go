package api

import (
	"encoding/base64"
	"net/netip"
	"strings"

	"vedette/api/problem"
	"vedette/schemas"
)

// keyMin is the shortest key that may be given; those that the server makes have
// as many characters.
const keyMin = 64

// newAgent reads what the bodies of adding and inserting have in common.
func newAgent(c *call) (NewAgent, error) {
	r := NewAgent{IP: schemas.AnyAddress}
	r.Name, _ = c.body["name"].(string)
	if ip, ok := c.body["ip"].(string); ok && ip != "" {
		r.IP = ip
	}
	if len(r.Name) > schemas.AgentNameMax {
		return r, problem.New(problem.AgentNameLength, "")
	}
	if !strings.EqualFold(r.IP, schemas.AnyAddress) {
		_, err := netip.ParseAddr(r.IP)
		_, err2 := netip.ParsePrefix(r.IP)
		if err != nil && err2 != nil && !dottedMask(r.IP) {
			return r, problem.Newf(problem.AgentAddress, "%q is neither an address nor a network nor any", r.IP)
		}
	} else {
		r.IP = schemas.AnyAddress
	}
	if f, ok := c.body["force"].(map[string]any); ok {
		given := force(f)
		r.Force = &given
	}
	return r, nil
}

func (a *API) enroll(c *call, r NewAgent) (any, error) {
	id, key, err := a.deps.Agents.Add(c.ctx, r)
	if err != nil {
		return nil, err
	}
	return &plain{Data: ordered{{"id", id}, {"key", key}}}, nil
}

func (a *API) addAgent(c *call) (any, error) {
	r, err := newAgent(c)
	if err != nil {
		return nil, err
	}
	return a.enroll(c, r)
}

// insertAgent is addAgent with an id and a key, as imports need it.
func (a *API) insertAgent(c *call) (any, error) {
	r, err := newAgent(c)
	if err != nil {
		return nil, err
	}
	r.ID, _ = c.body["id"].(string)
	r.Key, _ = c.body["key"].(string)
	if r.ID != "" && !schemas.ValidAgentID(r.ID) {
		return nil, problem.Newf(problem.AgentID, "An id is 1 to %d digits, and not that of the server", schemas.AgentIDMax)
	}
	if r.Key != "" && (len(r.Key) < keyMin || !schemas.ValidAgentKey(r.Key)) {
		return nil, problem.New(problem.AgentKey, "")
	}
	return a.enroll(c, r)
}

func (a *API) insertAgentQuick(c *call) (any, error) {
	return a.enroll(c, NewAgent{Name: c.str("agent_name"), IP: schemas.AnyAddress})
}

// readKey answers with the line that an agent imports as its key.
func (a *API) readKey(c *call) (any, error) {
	l := &list{All: "Obtained keys for all selected agents", Some: "Some agent keys were not obtained", None: "No agent keys were obtained"}
	agents, err := a.onPath(c, l)
	if err != nil {
		return nil, err
	}
	items := []ordered{}
	for _, x := range others(l, agents, true) {
		line, ok := a.deps.Agents.KeyLine(x.ID)
		if !ok { // removed since
			l.fail(problem.NoAgent, x.ID)
			continue
		}
		items = append(items, ordered{{"id", x.ID}, {"key", keyText(line)}})
	}
	l.Items, l.Total = items, len(items)
	return l, nil
}

// keyText is the form in which an agent's `-i` option takes a key line.
func keyText(line string) string { return base64.StdEncoding.EncodeToString([]byte(line)) }
