package deliver

import (
	"log/slog"
	"time"

	"vedette/internal/retry"
	"vedette/schemas"
)

// replies writes outcomes of commands to TopicReplies. Only failed locks, for
// itself.
type replies struct {
	node   string
	prod   Producer
	log    *slog.Logger
	m      *metrics
	failed retry.Log
}

// write writes one outcome and returns at once.
func (rs *replies) write(c *schemas.Command, status schemas.ReplyStatus, text string) {
	rs.m.commands.WithLabelValues(string(c.Kind), string(status)).Inc()
	r := c.Reply(rs.node, status, text, time.Now())
	rs.prod.Produce(r.Record(), func(err error) {
		if err == nil {
			return
		}
		if _, due := rs.failed.Due(); due {
			rs.log.Warn("the outcome of a command could not be written", "agent_id", r.AgentID, "err", err)
		}
	})
}
