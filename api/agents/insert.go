package agents

import (
	"encoding/base64"
	"net/netip"
	"strings"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/schemas"
)

// keyMin is the shortest key that may be given; those that the server makes have
// as many characters.
const keyMin = 64

// agentBody is the body of adding an agent.
type agentBody struct {
	Name  string     `json:"name"`
	IP    string     `json:"ip"`
	Force *forceBody `json:"force"`
}

// enroll checks a new agent, adds it and answers with its id and its key.
func (a *Service) enroll(c *rest.Call, b agentBody, id, key string) (rest.Answer, error) {
	r := NewAgent{Name: b.Name, IP: b.IP, ID: id, Key: key, Force: b.Force.force()}
	if len(r.Name) > schemas.AgentNameMax {
		return nil, problem.New(problem.AgentNameLength, "")
	}
	if r.IP == "" || strings.EqualFold(r.IP, schemas.AnyAddress) {
		r.IP = schemas.AnyAddress
	} else {
		_, err := netip.ParseAddr(r.IP)
		_, err2 := netip.ParsePrefix(r.IP)
		if err != nil && err2 != nil && !dottedMask(r.IP) {
			return nil, problem.Newf(problem.AgentAddress, "%q is neither an address nor a network nor any", r.IP)
		}
	}
	if r.ID != "" && !schemas.ValidAgentID(r.ID) {
		return nil, problem.Newf(problem.AgentID, "An id is 1 to %d digits, and not that of the server", schemas.AgentIDMax)
	}
	if r.Key != "" && (len(r.Key) < keyMin || !schemas.ValidAgentKey(r.Key)) {
		return nil, problem.New(problem.AgentKey, "")
	}
	id, key, err := a.Agents.Add(c.Ctx, r)
	return &rest.Data{Data: rest.Ordered{{Key: "id", Value: id}, {Key: "key", Value: key}}}, err
}

type addAgent struct {
	Body agentBody `body:"json"`
}

func (a *Service) addAgent(c *rest.Call, p *addAgent) (rest.Answer, error) {
	return a.enroll(c, p.Body, "", "")
}

type insertAgent struct {
	Body struct {
		agentBody
		ID  string `json:"id"`
		Key string `json:"key"`
	} `body:"json"`
}

// insertAgent is addAgent with an id and a key, as imports need it.
func (a *Service) insertAgent(c *rest.Call, p *insertAgent) (rest.Answer, error) {
	return a.enroll(c, p.Body.agentBody, p.Body.ID, p.Body.Key)
}

type insertAgentQuick struct {
	Name string `param:"agent_name"`
}

func (a *Service) insertAgentQuick(c *rest.Call, p *insertAgentQuick) (rest.Answer, error) {
	return a.enroll(c, agentBody{Name: p.Name}, "", "")
}

// One is for operations on the agent that the path names, which answer with
// a list: an agent that is not there is a failed item.
type One struct {
	Agents rest.Targets[*Agent] `param:"agent_id"`
}

// readKey answers with the line that an agent imports as its key.
func (a *Service) readKey(c *rest.Call, p *One) (rest.Answer, error) {
	items := []rest.Ordered{}
	for _, x := range Real(c, &p.Agents) {
		line, ok := a.Agents.KeyLine(x.ID)
		if !ok { // removed since
			c.Fail(problem.NoAgent, x.ID)
			continue
		}
		items = append(items, rest.Ordered{{Key: "id", Value: x.ID}, {Key: "key", Value: KeyText(line)}})
	}
	return rest.Items(items, rest.Messages{All: "Obtained keys for all selected agents", Some: "Some agent keys were not obtained", None: "No agent keys were obtained"}), nil
}

// KeyText is the form in which an agent's `-i` option takes a key line.
func KeyText(line string) string { return base64.StdEncoding.EncodeToString([]byte(line)) }
