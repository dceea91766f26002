package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Foreign returns the same brokers for topics that are not of this installation.
// Topic and group names are taken as they are, and records of aborted
// transactions are not read.
func (c *Cluster) Foreign() *Cluster {
	f := *c
	f.prefix = ""
	f.base = append(slices.Clip(slices.Clone(c.base)), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	return &f
}
