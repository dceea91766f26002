package kafka

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/retry"
	"vedette/schemas"
)

// Partitions of events, alerts and archives where nothing is configured. They
// are fixed at creation, because the key decides the order and the state.
const (
	defaultPartitions = 48
	// EmbeddedPartitions is the number on the embedded broker.
	EmbeddedPartitions = 12
	// smallPartitionsMax bounds the partitions of the keyed topics that carry little.
	smallPartitionsMax = 12
	// futureMax is how far a record's timestamp may lie ahead of the broker's clock.
	futureMax = time.Hour
)

// Retention is the configured retention of the topic events.
type Retention struct {
	// Time is how long raw events are kept; 0 keeps them for ever.
	Time time.Duration
	// Bytes bounds each partition; 0 does not.
	Bytes int64
}

// TopicPlan is the change that ApplyTopics would make to one topic.
type TopicPlan struct {
	Name          string
	Exists        bool
	Partitions    int32
	Replication   int16
	Config        map[string]string
	HasPartitions int32
	Changes       []string // config keys that would change, as key=value
	Refusal       string   // set when the topic cannot become the wanted one
	alterations   []kadm.AlterConfig
}

// Action describes the change in a word or two.
func (p TopicPlan) Action() string {
	switch {
	case p.Refusal != "":
		return "refused: " + p.Refusal
	case !p.Exists:
		return "create"
	case len(p.Changes) > 0:
		return "alter"
	}
	return "keep"
}

// PlanTopics compares the topics of schemas.Topics with the brokers' topics.
//
// Source: docs/design.md "Topics".
func (c *Cluster) PlanTopics(ctx context.Context, events Retention) ([]TopicPlan, error) {
	adm, err := c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	return c.plan(ctx, adm, events)
}

func (c *Cluster) plan(ctx context.Context, adm *kadm.Client, events Retention) ([]TopicPlan, error) {
	meta, err := adm.Metadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the brokers for their topics: %w", err)
	}
	replication := int16(c.cfg.Replication)
	if replication == 0 {
		replication = int16(min(3, len(meta.Brokers)))
	}
	if int(replication) > len(meta.Brokers) {
		// The others may still be starting.
		return nil, fmt.Errorf("kafka.replication is %d, but there are %d brokers", replication, len(meta.Brokers))
	}
	partitions := int32(c.cfg.Partitions)
	if partitions == 0 {
		partitions = defaultPartitions
		if c.embedded {
			partitions = EmbeddedPartitions
		}
	}
	var existing []string
	var plans []TopicPlan
	for _, t := range schemas.Topics() {
		p := TopicPlan{Name: c.Topic(t.Name), Partitions: min(partitions, smallPartitionsMax), Replication: replication}
		switch {
		case t.Single:
			p.Partitions = 1
		case t.Name == schemas.TopicEvents || t.Name == schemas.TopicAlerts || t.Name == schemas.TopicArchives:
			p.Partitions = partitions
		}
		p.Config = topicConfig(t, events, replication)
		if c.embedded {
			delete(p.Config, "message.timestamp.after.max.ms") // unknown to the embedded broker
		}
		if d, ok := meta.Topics[p.Name]; ok && d.Err == nil {
			p.Exists, p.HasPartitions = true, int32(len(d.Partitions))
			// An existing topic stays unless a number was asked for.
			if c.cfg.Partitions == 0 && !t.Single {
				p.Partitions = p.HasPartitions
			}
			if p.HasPartitions != p.Partitions {
				p.Refusal = fmt.Sprintf("has %d partitions and %d are wanted; partitions are fixed at creation because the key decides order and state: keep kafka.partitions at %d", p.HasPartitions, p.Partitions, p.HasPartitions)
			}
			existing = append(existing, p.Name)
		}
		plans = append(plans, p)
	}
	if len(existing) == 0 {
		return plans, nil
	}
	configs, err := adm.DescribeTopicConfigs(ctx, existing...)
	if err != nil {
		return nil, fmt.Errorf("ask the brokers for topic settings: %w", err)
	}
	has := map[string]map[string]string{}
	for _, rc := range configs {
		if rc.Err != nil {
			return nil, fmt.Errorf("settings of topic %s: %w", rc.Name, rc.Err)
		}
		has[rc.Name] = map[string]string{}
		for _, kv := range rc.Configs {
			has[rc.Name][kv.Key] = kv.MaybeValue()
		}
	}
	for i := range plans {
		p := &plans[i]
		if !p.Exists {
			continue
		}
		for _, k := range sortedKeys(p.Config) {
			if v := p.Config[k]; has[p.Name][k] != v {
				p.Changes = append(p.Changes, k+"="+v)
				p.alterations = append(p.alterations, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: &v})
			}
		}
	}
	return plans, nil
}

func topicConfig(t schemas.Topic, events Retention, replication int16) map[string]string {
	keep, bytes := t.Retention, t.Bytes
	if t.Name == schemas.TopicEvents {
		keep, bytes = events.Time, events.Bytes
	}
	ms := int64(-1)
	if keep > 0 {
		ms = keep.Milliseconds()
	}
	cfg := map[string]string{
		"min.insync.replicas":            strconv.Itoa(max(1, int(replication)-1)),
		"unclean.leader.election.enable": "false",
		"message.timestamp.type":         "CreateTime",
		"max.message.bytes":              strconv.Itoa(MaxBatchBytes),
		"retention.ms":                   strconv.FormatInt(ms, 10),
		"cleanup.policy":                 "delete",
	}
	if t.Compacted {
		cfg["cleanup.policy"] = "compact"
	}
	if t.Segment > 0 {
		cfg["segment.ms"] = strconv.FormatInt(t.Segment.Milliseconds(), 10)
	}
	if t.SegmentBytes > 0 {
		cfg["segment.bytes"] = strconv.FormatInt(t.SegmentBytes, 10)
	}
	if bytes > 0 {
		cfg["retention.bytes"] = strconv.FormatInt(bytes, 10)
	}
	if t.Name == schemas.TopicEvents {
		cfg["message.timestamp.after.max.ms"] = strconv.FormatInt(futureMax.Milliseconds(), 10)
	}
	return cfg
}

// errRefused marks a plan that no later try can carry out. It adds no text.
var errRefused = errors.New("")

// MayPass reports whether an error of ApplyTopics can go away by itself. Brokers
// that are away, begin or are slow may recover; refusals of brokers or of the
// plan stay.
func MayPass(err error) bool {
	var code *kerr.Error
	return err != nil && !errors.Is(err, errRefused) && (!errors.As(err, &code) || code.Retriable)
}

// ApplyTopics creates missing topics and changes settings that differ. It
// refuses to change a number of partitions; then nothing is changed at all. When
// it returns without an error, every broker knows a leader of every partition.
func (c *Cluster) ApplyTopics(ctx context.Context, events Retention) ([]TopicPlan, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	plans, err := c.plan(ctx, adm, events)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range plans {
		if p.Refusal != "" {
			errs = append(errs, fmt.Errorf("topic %s %s%w", p.Name, p.Refusal, errRefused))
		}
	}
	if len(errs) > 0 {
		return plans, errors.Join(errs...)
	}
	for _, p := range plans {
		switch p.Action() {
		case "create":
			cfg := map[string]*string{}
			for k, v := range p.Config {
				cfg[k] = &v
			}
			_, err := adm.CreateTopic(ctx, p.Partitions, p.Replication, cfg, p.Name)
			if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				errs = append(errs, fmt.Errorf("create topic %s: %w", p.Name, err))
			}
		case "alter":
			if _, err := adm.AlterTopicConfigs(ctx, p.alterations, p.Name); err != nil {
				errs = append(errs, fmt.Errorf("alter topic %s: %w", p.Name, err))
			}
		}
	}
	if len(errs) > 0 {
		return plans, errors.Join(errs...)
	}
	return plans, awaitLeaders(ctx, cl, plans)
}

// MakeTopics creates the named topics that are missing, with as many partitions
// as the topic events. Their records are kept for a time, or for ever if it is
// 0. Names are full names, without the prefix of this installation.
func (c *Cluster) MakeTopics(ctx context.Context, keep time.Duration, names ...string) error {
	adm, err := c.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	have, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("ask the brokers for their topics: %w", err)
	}
	ms := "-1"
	if keep > 0 {
		ms = strconv.FormatInt(keep.Milliseconds(), 10)
	}
	partitions := int32(len(have[c.Topic(schemas.TopicEvents)].Partitions))
	for _, name := range names {
		if have.Has(name) {
			continue
		}
		_, err := adm.CreateTopic(ctx, max(1, partitions), 1, map[string]*string{"retention.ms": &ms}, name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	return nil
}

// leadersWithin bounds the wait for leaders of partitions.
const leadersWithin = time.Minute

// awaitLeaders waits until every broker knows a leader of every partition. The
// controller answers for new topics before the other brokers hear of them.
func awaitLeaders(ctx context.Context, cl *kgo.Client, plans []TopicPlan) error {
	ctx, cancel := context.WithTimeout(ctx, leadersWithin)
	defer cancel()
	pause := retry.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	var last error // a request that the end of ctx cuts short does not name the missing part
	for {
		err := leaders(ctx, cl, plans)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if e := pause.Wait(ctx); e != nil {
			return fmt.Errorf("topics were applied, but cannot be used yet: %w", last)
		}
	}
}

// leaders asks each live broker by itself; the error names the first topic, and
// the broker, without a leader.
func leaders(ctx context.Context, cl *kgo.Client, plans []TopicPlan) error {
	ask := kmsg.NewPtrMetadataRequest()
	for _, p := range plans {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(p.Name)
		ask.Topics = append(ask.Topics, t)
	}
	none := kmsg.NewPtrMetadataRequest()
	none.Topics = []kmsg.MetadataRequestTopic{} // nil would ask for every topic
	all, err := none.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("ask for the brokers: %w", err)
	}
	for _, b := range all.Brokers {
		resp, err := ask.RequestWith(ctx, cl.Broker(int(b.NodeID)))
		if err != nil {
			return fmt.Errorf("ask broker %d for its topics: %w", b.NodeID, err)
		}
		for _, t := range resp.Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				return fmt.Errorf("topic %s on broker %d: %w", *t.Topic, b.NodeID, err)
			}
			for _, p := range t.Partitions {
				if p.Leader < 0 {
					return fmt.Errorf("topic %s on broker %d: partition %d has no leader", *t.Topic, b.NodeID, p.Partition)
				}
			}
		}
	}
	return nil
}

// MissingTopics returns the names of topics that are not there.
func (c *Cluster) MissingTopics(ctx context.Context) ([]string, error) {
	adm, err := c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	have, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, t := range schemas.Topics() {
		if !have.Has(c.Topic(t.Name)) {
			missing = append(missing, c.Topic(t.Name))
		}
	}
	return missing, nil
}

func sortedKeys[V any](m map[string]V) []string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}
