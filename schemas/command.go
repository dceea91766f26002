package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// CommandVersion is the version of commands and replies that this program writes.
const CommandVersion = 1

// Bounds of commands and replies.
const (
	// MaxCommandText bounds the text sent to an agent: a payload of 65,408 bytes less
	// the longest mark before it, `#!-req <id> `.
	MaxCommandText = 65392
	// MaxReplyText bounds an agent's answer.
	MaxReplyText = 65536
	// maxCommandBytes bounds a record of TopicCommands.
	maxCommandBytes = 512 << 10
)

// CommandKind is the purpose of a command.
type CommandKind string

// Kinds of commands.
const (
	// CommandResponse is an active response, for the agent's response daemon or
	// for the server's own when AgentID is ManagerID.
	CommandResponse CommandKind = "response"
	// CommandRequest asks the agent something; its answer is a Reply.
	CommandRequest CommandKind = "request"
	// CommandControl is a control message without an answer.
	CommandControl CommandKind = "control"
	// CommandUpgrade has the gateway upgrade the agent by a package.
	CommandUpgrade CommandKind = "upgrade"
)

// Command is one record of TopicCommands, under the agent's id: an order to an
// agent. Every gateway reads all of them; the one that holds the agent's
// connection sends it, once, and not after it has expired. Since commands act on
// agents, the record carries HeaderMAC over MACInput (docs/design.md D10).
type Command struct {
	V int `json:"v"`
	// ID names the command for ever: gateways send each id once. That of an
	// active response is made from the alert's id, the response and the agent.
	ID      string      `json:"id"`
	Kind    CommandKind `json:"kind"`
	AgentID string      `json:"agent_id"`
	// Text is sent: the JSON message of an active response, `<target>
	// <command>` of a request, a control message without its `#!-`.
	Text string `json:"text,omitempty"`
	// Legacy is the message of an active response for agents before 4.2.
	Legacy string `json:"legacy,omitempty"`
	// Time and Expires are in Unix milliseconds.
	Time    int64 `json:"time"`
	Expires int64 `json:"expires"`

	// Who asked and why: the node or API user; of an active response its
	// identity (`firewall-drop600`), the alert and its rule.
	Origin   string `json:"origin,omitempty"`
	Response string `json:"response,omitempty"`
	AlertID  string `json:"alert_id,omitempty"`
	RuleID   string `json:"rule_id,omitempty"`

	Upgrade *AgentUpgrade `json:"upgrade,omitempty"`
}

// AgentUpgrade names the package that an agent is upgraded by.
type AgentUpgrade struct {
	// File is the package's name, SHA256 names its content in TopicFiles, and
	// SHA1 is the sum of the file that the agent must have received.
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	SHA1   string `json:"sha1"`
	Size   int64  `json:"size"`
	// Installer is the script of the package that is run.
	Installer string `json:"installer"`
	// ChunkBytes is how much of the file one message carries.
	ChunkBytes int `json:"chunk_bytes"`
}

// Errors of ParseCommand and ParseReply.
var (
	ErrCommand        = errors.New("not a command")
	ErrCommandVersion = errors.New("command or reply of an unknown version")
	ErrReply          = errors.New("not a reply")
)

// Record returns the command's record, without its MAC.
func (c *Command) Record() (Record, error) {
	c.V = CommandVersion
	b, err := json.Marshal(c)
	if err != nil {
		return Record{}, err
	}
	if err := c.check(); err != nil {
		return Record{}, err
	}
	return Record{Topic: TopicCommands, Timestamp: time.UnixMilli(c.Time), Key: []byte(c.AgentID), Value: b}, nil
}

func (c *Command) check() error {
	switch {
	case c.ID == "" || len(c.ID) > 512:
		return fmt.Errorf("%w: id", ErrCommand)
	case !ValidAgentID(c.AgentID) && c.AgentID != ManagerID:
		return fmt.Errorf("%w: agent id %q", ErrCommand, c.AgentID)
	case len(c.Text) > MaxCommandText || len(c.Legacy) > MaxCommandText:
		return fmt.Errorf("%w: text longer than %d bytes", ErrCommand, MaxCommandText)
	case strings.IndexByte(c.Text, 0) >= 0 || strings.IndexByte(c.Legacy, 0) >= 0:
		return fmt.Errorf("%w: a NUL would end the text", ErrCommand)
	case c.Expires < c.Time:
		return fmt.Errorf("%w: it expires before its time", ErrCommand)
	}
	switch c.Kind {
	case CommandResponse, CommandRequest, CommandControl:
		if c.Text == "" {
			return fmt.Errorf("%w: no text", ErrCommand)
		}
	case CommandUpgrade:
		if c.Upgrade == nil {
			return fmt.Errorf("%w: no package", ErrCommand)
		}
	default:
		return fmt.Errorf("%w: kind %q", ErrCommand, c.Kind)
	}
	return nil
}

// ParseCommand reads a record of TopicCommands. It does not verify the MAC.
func ParseCommand(r *Record) (Command, error) {
	var c Command
	if len(r.Value) > maxCommandBytes {
		return c, fmt.Errorf("%w: too long", ErrCommand)
	}
	if err := decode(r.Value, CommandVersion, &c, ErrCommand, ErrCommandVersion); err != nil {
		return c, err
	}
	if string(r.Key) != c.AgentID {
		return c, fmt.Errorf("%w: key %q is not agent %q", ErrCommand, r.Key, c.AgentID)
	}
	return c, c.check()
}

// ReplyStatus is the outcome of a command.
type ReplyStatus string

// Outcomes of commands. Answered, Done, Failed, Refused, Expired and TimedOut
// are final; Sent is so for commands that an agent does not answer.
const (
	ReplySent     ReplyStatus = "sent"
	ReplyAnswered ReplyStatus = "answered"
	// ReplyProgress tells of a long command that goes on; Text says where it is.
	ReplyProgress ReplyStatus = "progress"
	ReplyDone     ReplyStatus = "done"
	ReplyFailed   ReplyStatus = "failed"
	ReplyRefused  ReplyStatus = "refused"
	ReplyExpired  ReplyStatus = "expired"
	ReplyTimedOut ReplyStatus = "timed_out"
)

// UpgradeReport is the command id under which a gateway passes on what an agent
// says of its last upgrade, whose command it need not know.
const UpgradeReport = "upgrade-report"

// Reply is one record of TopicReplies, under the agent's id: the outcome of a
// command. It repeats who asked and why, so that the topic can be read alone.
type Reply struct {
	V         int         `json:"v"`
	CommandID string      `json:"command_id"`
	Kind      CommandKind `json:"kind"`
	AgentID   string      `json:"agent_id"`
	// Node sent the command, or ran it.
	Node   string      `json:"node"`
	Status ReplyStatus `json:"status"`
	// Text is the agent's answer, or why nothing was sent.
	Text string `json:"text,omitempty"`
	// Time is in Unix milliseconds.
	Time int64 `json:"time"`

	Origin   string `json:"origin,omitempty"`
	Response string `json:"response,omitempty"`
	AlertID  string `json:"alert_id,omitempty"`
	RuleID   string `json:"rule_id,omitempty"`
}

// Reply returns a reply to c.
func (c *Command) Reply(node string, status ReplyStatus, text string, now time.Time) Reply {
	return Reply{
		V: CommandVersion, CommandID: c.ID, Kind: c.Kind, AgentID: c.AgentID, Node: node, Status: status,
		Text: strings.ToValidUTF8(text[:min(len(text), MaxReplyText)], "\ufffd"), Time: now.UnixMilli(),
		Origin: c.Origin, Response: c.Response, AlertID: c.AlertID, RuleID: c.RuleID,
	}
}

// Record returns the reply's record.
func (r *Reply) Record() Record {
	return Record{Topic: TopicReplies, Timestamp: time.UnixMilli(r.Time), Key: []byte(r.AgentID), Value: mustMarshal(r)}
}

// ParseReply reads a record of TopicReplies.
func ParseReply(rec *Record) (Reply, error) {
	var r Reply
	if len(rec.Value) > maxCommandBytes {
		return r, fmt.Errorf("%w: too long", ErrReply)
	}
	if err := decode(rec.Value, CommandVersion, &r, ErrReply, ErrCommandVersion); err != nil {
		return r, err
	}
	if r.CommandID == "" || string(rec.Key) != r.AgentID {
		return r, ErrReply
	}
	return r, nil
}
