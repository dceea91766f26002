package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"vedette/internal/retry"
)

// committedTries is how often a group's coordinator is asked, over five seconds.
const committedTries = 10

// BeginGroup lets a group that never read a topic begin at its end, for good:
// records from now on are the group's, whenever a member joins. Partitions with
// a commit keep it. If a commit lies beyond the log, the log was made anew, and
// the group begins at its start. If members are there already, nothing is done:
// they began the group themselves.
func (c *Cluster) BeginGroup(ctx context.Context, group, topic string) error {
	adm, err := c.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	committed, err := c.committed(ctx, adm, group, topic)
	if err != nil {
		return err
	}
	ranges, err := c.Ranges(ctx, topic) // after the commits, so that none lies beyond it by right
	if err != nil {
		return err
	}
	begin := kadm.Offsets{}
	for p, r := range ranges {
		at, ok := committed[int32(p)]
		switch {
		case !ok:
			begin.AddOffset(c.Topic(topic), int32(p), r.End, -1)
		case at > r.End:
			begin.AddOffset(c.Topic(topic), int32(p), r.Start, -1)
		}
	}
	if len(begin) == 0 {
		return nil
	}
	done, err := adm.CommitOffsets(ctx, c.Topic(group), begin)
	if err == nil {
		err = done.Error()
	}
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.RebalanceInProgress) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("begin group %s: %w", group, err)
	}
	return nil
}

// GroupLag returns how many records of a topic a group has not committed yet;
// ok is false if it never committed.
func (c *Cluster) GroupLag(ctx context.Context, group, topic string) (lag int64, ok bool, err error) {
	adm, err := c.Admin()
	if err != nil {
		return 0, false, err
	}
	defer adm.Close()
	committed, err := c.committed(ctx, adm, group, topic)
	if err != nil || len(committed) == 0 {
		return 0, false, err
	}
	ranges, err := c.Ranges(ctx, topic)
	if err != nil {
		return 0, false, err
	}
	for p, r := range ranges {
		at, ok := committed[int32(p)]
		if !ok {
			at = r.Start
		}
		lag += max(0, r.End-max(at, r.Start))
	}
	return lag, true, nil
}

func (c *Cluster) committed(ctx context.Context, adm *kadm.Client, group, topic string) (map[int32]int64, error) {
	var all kadm.OffsetResponses
	var err error
	// A cluster that has had no group yet makes the place for them first.
	pause := retry.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for range committedTries {
		if all, err = adm.FetchOffsets(ctx, c.Topic(group)); err == nil {
			err = all.Error()
		}
		if !kerr.IsRetriable(err) || pause.Wait(ctx) != nil {
			break
		}
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the offsets of group %s: %w", group, err)
	}
	out := map[int32]int64{}
	for p, o := range all[c.Topic(topic)] {
		if o.At >= 0 {
			out[p] = o.At
		}
	}
	return out, nil
}
