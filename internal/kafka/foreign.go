package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Foreign returns the same brokers for topics that are not of this installation:
// names are taken as they are, of groups too, and what a transaction of theirs
// took back is not read.
func (c *Cluster) Foreign() *Cluster {
	f := *c
	f.prefix = ""
	f.base = append(slices.Clip(slices.Clone(c.base)), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	return &f
}
