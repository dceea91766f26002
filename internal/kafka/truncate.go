package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// DeleteBefore removes the records of a partition below an offset, for good. An
// offset that lies before the partition's start changes nothing.
func (c *Cluster) DeleteBefore(ctx context.Context, topic string, partition int32, offset int64) error {
	adm, err := c.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	at := kadm.Offsets{}
	at.AddOffset(c.Topic(topic), partition, offset, -1)
	done, err := adm.DeleteRecords(ctx, at)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		return fmt.Errorf("delete records of %s before %d: %w", topic, offset, err)
	}
	return nil
}
