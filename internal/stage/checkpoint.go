package stage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/schemas"
)

// CheckpointPolicy says when the state of a partition is written. Zero values
// mean the defaults.
type CheckpointPolicy struct {
	// Every is how long after the last checkpoint the next is due, if records came
	// since.
	Every time.Duration
	// Records is after how many records a checkpoint is due at once. A new owner
	// handles at most these again, beside the records of one batch.
	Records int
	// BytesMax bounds a checkpoint. A larger state is not written.
	BytesMax int
	// CloseWithin bounds how long giving a partition up waits for its last checkpoint.
	CloseWithin time.Duration
}

// Defaults of CheckpointPolicy.
const (
	DefaultCheckpointEvery       = time.Minute
	DefaultCheckpointRecords     = 100_000
	DefaultCheckpointBytesMax    = schemas.MaxCheckpointChunks * schemas.MaxCheckpointChunkBytes
	DefaultCheckpointCloseWithin = 5 * time.Second
)

func (p CheckpointPolicy) orDefault() CheckpointPolicy {
	if p.Every <= 0 {
		p.Every = DefaultCheckpointEvery
	}
	if p.Records <= 0 {
		p.Records = DefaultCheckpointRecords
	}
	if p.BytesMax <= 0 || p.BytesMax > DefaultCheckpointBytesMax {
		p.BytesMax = DefaultCheckpointBytesMax
	}
	if p.CloseWithin <= 0 {
		p.CloseWithin = DefaultCheckpointCloseWithin
	}
	return p
}

const (
	// Purpose of the MAC of checkpoints and changes of versions.
	Purpose = "checkpoint"
	// manifestPartition of TopicCheckpoints holds the manifests, the others the
	// chunks, so that finding a manifest never reads state.
	manifestPartition = 0
	// manifestsKept bounds the manifests remembered per partition. Compaction
	// leaves one; before it, older ones serve if the newest turns out broken.
	manifestsKept = 4
	// chunksInFlight bounds the chunks of a checkpoint that wait for
	// acknowledgement.
	chunksInFlight = 8
	// bufferKept bounds the buffer that stays between checkpoints.
	bufferKept = 32 << 20
	// loadTries is how often reading checkpoints is tried at an assignment.
	loadTries = 3
	// writeWithin bounds the writing of one checkpoint, firstWithin the writing
	// of the first of a state, for which the partition waits.
	writeWithin = time.Minute
	firstWithin = 10 * time.Second
)

// checkpoints writes and loads the state of a stage's partitions.
type checkpoints struct {
	s      *Stage
	policy CheckpointPolicy

	// busy is held while a state is encoded and written: one at a time, so that
	// at most one copy of a state is in memory.
	busy   chan struct{}
	buffer []byte // of the holder of busy

	mu        sync.Mutex // guards the fields below; only scan asks Kafka while it holds it
	next      int64      // manifests before it were read
	count     int        // partitions of TopicCheckpoints
	manifests map[int32][]manifest
	changes   map[int32]schemas.RulesetActivation
	loaded    map[int32]*loadedState
	written   map[int32]time.Time // of owned partitions: the last checkpoint, or the assignment
}

// manifest is a verified manifest with its own offset.
type manifest struct {
	schemas.Checkpoint
	at int64
}

// loadedState waits between startAt and open.
type loadedState struct {
	part    Part    // nil when no checkpoint is usable
	changes changes // with the version of the state
	offset  int64   // of the state; or, when cut, of the log's start
	slot    int     // for the next checkpoint
	cut     bool    // the commit lies behind the log's end and means nothing
}

func newCheckpoints(s *Stage) *checkpoints {
	return &checkpoints{
		s: s, policy: s.c.Policy.orDefault(), busy: make(chan struct{}, 1),
		manifests: map[int32][]manifest{}, changes: map[int32]schemas.RulesetActivation{}, loaded: map[int32]*loadedState{}, written: map[int32]time.Time{},
	}
}

// startAt loads the newest whole checkpoint of a partition and says where to
// read from. Without one, open finds an empty state and reading begins where
// kafka.GroupConfig.Rewind says.
func (c *checkpoints) startAt(ctx context.Context, a kafka.Assignment) (int64, bool, error) {
	var err error
	pause := retry.Backoff{Min: 200 * time.Millisecond, Max: 2 * time.Second}
	for range loadTries {
		var from int64
		var ok bool
		if from, ok, err = c.load(ctx, a); err == nil {
			return from, ok, nil
		}
		if err := pause.Wait(ctx); err != nil {
			return 0, false, err
		}
	}
	// Going on without the state of long ago is better than standing still.
	c.reject(a.Partition, "unreadable", err)
	return 0, false, nil
}

func (c *checkpoints) load(ctx context.Context, a kafka.Assignment) (int64, bool, error) {
	found, have, err := c.scan(ctx, a.Partition)
	if err != nil {
		return 0, false, err
	}
	// Asked after the manifests, so that none of them lies beyond it by right.
	ranges, err := c.s.c.Cluster.Ranges(ctx, a.Topic)
	if err != nil {
		return 0, false, err
	}
	if int(a.Partition) >= len(ranges) {
		return 0, false, fmt.Errorf("topic %s has no partition %d", a.Topic, a.Partition)
	}
	log := ranges[a.Partition]
	l := &loadedState{offset: kafka.NoOffset}
	if len(found) > 0 {
		l.slot = (found[len(found)-1].Slot + 1) % schemas.CheckpointSlots
	}
	c.mu.Lock()
	if old := c.loaded[a.Partition]; old != nil && old.part != nil {
		old.part.Close() // of an assignment that ended before it began
	}
	c.loaded[a.Partition] = l
	l.changes.know(c.changes[a.Partition], a, log)
	c.mu.Unlock()
	if a.Committed > log.End {
		// The topic was made anew, or the brokers lost records they had acknowledged:
		// the commit and every checkpoint refer to another log. The records there are
		// handled from the log's start; repeats overwrite themselves.
		l.offset, l.cut = log.Start, true
		c.reject(a.Partition, "log_cut", nil)
		return log.Start, true, nil
	}
	// The newest written first, not the furthest: after the brokers lost part of the
	// log, a checkpoint from before reaches further and is wrong. An older checkpoint,
	// which a paused former owner wrote late, is a true state all the same; it only
	// means that more records are handled again.
	for _, m := range slices.Backward(found) {
		begin := time.Now()
		part, reason, err := c.restore(ctx, &m, a, log, have)
		if reason != "" {
			c.reject(a.Partition, reason, err)
			continue
		}
		if err != nil {
			return 0, false, err
		}
		l.part, l.offset, l.slot = part, m.Offset, (m.Slot+1)%schemas.CheckpointSlots
		l.changes.version = m.Ruleset
		l.changes.floor = min(log.End, max(l.changes.floor, m.Offset+kafka.HandleRecordsMax))
		c.s.m.checkpointLoaded.Inc()
		c.s.m.checkpointLoadSeconds.Add(time.Since(begin).Seconds())
		c.s.c.Log.Info("checkpoint loaded", "stage", c.s.c.Name, "topic", a.Topic, "partition", a.Partition, "offset", m.Offset, "committed", a.Committed, "bytes", m.Bytes, "keys", part.Keys())
		if log.Start > m.Offset {
			// The state is true but for the records in between; records that were never
			// handled are counted at the first one.
			c.reject(a.Partition, "retention_gap", nil)
		}
		return max(m.Offset, log.Start), true, nil
	}
	return 0, false, nil
}

// restore makes a part with the state of a checkpoint. A reason says why the
// checkpoint is of no use; an error without one passes.
func (c *checkpoints) restore(ctx context.Context, m *manifest, a kafka.Assignment, log kafka.Range, have []kafka.Range) (_ Part, reason string, err error) {
	switch {
	case m.Topic != a.Topic || m.TopicID != a.TopicID:
		return nil, "other_topic", nil
	case m.Offset > log.End:
		// The brokers lost records that were acknowledged; offsets have lost their
		// meaning.
		return nil, "beyond_end", nil
	}
	part := c.s.c.Open(a)
	defer func() {
		if err != nil || reason != "" {
			part.Close()
		}
	}()
	use, err := part.Prepare(ctx, m.Ruleset)
	if errors.Is(err, ErrGone) {
		return nil, "other_ruleset", err
	}
	if err != nil {
		return nil, "", err
	}
	use()
	data, reason, err := c.chunks(ctx, m, have)
	if err != nil || reason != "" {
		return nil, reason, err
	}
	switch err := part.Restore(data); {
	case errors.Is(err, ErrOtherForm):
		return nil, "other_form", err
	case err != nil:
		return nil, "state", err
	}
	return part, "", nil
}

func (c *checkpoints) reject(partition int32, reason string, err error) {
	c.s.m.checkpointRejected.WithLabelValues(reason).Inc()
	c.s.c.Log.Warn("checkpoint not used, or not to the full", "stage", c.s.c.Name, "partition", partition, "reason", reason, "err", err)
}

// scan reads the manifests written since the last time. It returns the manifests
// of a partition, oldest first, and the ranges of the partitions of
// TopicCheckpoints.
func (c *checkpoints) scan(ctx context.Context, partition int32) ([]manifest, []kafka.Range, error) {
	ranges, err := c.s.c.Cluster.Ranges(ctx, schemas.TopicCheckpoints)
	if err == nil && len(ranges) == 0 {
		err = errors.New("the topic checkpoints has no partition")
	}
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = len(ranges)
	have := ranges[manifestPartition]
	if c.next > have.End { // another incarnation of the topic
		c.next = 0
		clear(c.manifests)
		clear(c.changes)
	}
	err = c.s.c.Cluster.Read(ctx, schemas.TopicCheckpoints, manifestPartition, kafka.Range{Start: max(have.Start, c.next), End: have.End}, func(rec schemas.Record) bool {
		c.next = rec.Offset + 1
		if p, ok := schemas.RulesetActivationOf(rec.Key); ok {
			c.learn(p, &rec)
			return true
		}
		p, ok := schemas.CheckpointManifestOf(c.s.c.Name, rec.Key)
		if !ok || len(rec.Value) == 0 {
			return true
		}
		if !c.verify(&rec) {
			return true
		}
		m, err := schemas.ParseCheckpoint(c.s.c.Name, &rec)
		if err != nil {
			reason := "manifest"
			if errors.Is(err, schemas.ErrCheckpointVersion) {
				reason = "other_form"
			}
			c.reject(p, reason, err)
			return true
		}
		list := append(c.manifests[p], manifest{m, rec.Offset})
		c.manifests[p] = list[max(0, len(list)-manifestsKept):]
		return true
	})
	return slices.Clone(c.manifests[partition]), ranges, err
}

// learn takes in which versions handle a partition. The last record counts: by
// then its writer had read the records before. The caller holds mu.
func (c *checkpoints) learn(partition int32, rec *schemas.Record) {
	if len(rec.Value) == 0 || !c.verify(rec) {
		return
	}
	a, err := schemas.ParseRulesetActivation(rec)
	if err != nil {
		c.reject(partition, "activation", err)
		return
	}
	c.changes[partition] = a
}

// verify checks the MAC. A record without a right one goes to the dead letter.
func (c *checkpoints) verify(rec *schemas.Record) bool {
	if c.s.c.Box.Verify(Purpose, schemas.MACInput(rec), rec.Header(schemas.HeaderMAC)) {
		return true
	}
	c.s.m.checkpointRejected.WithLabelValues("mac").Inc()
	c.s.m.deadletter.WithLabelValues("checkpoint_mac").Inc()
	d := schemas.NewDeadLetter(rec, "checkpoint_mac", "the record was not made under this cluster key")
	c.s.c.Producer.Produce(d.Record(), nil)
	return false
}

// chunks reads the chunks that a manifest names, from partitions that hold
// ranges. A reason explains why it is not whole.
func (c *checkpoints) chunks(ctx context.Context, m *manifest, ranges []kafka.Range) (data []byte, reason string, err error) {
	n := len(m.ChunkOffsets)
	want := kafka.Range{Start: m.ChunkOffsets[0], End: m.ChunkOffsets[n-1] + 1}
	if int(m.ChunkPartition) >= len(ranges) || want.Start < ranges[m.ChunkPartition].Start || want.End > ranges[m.ChunkPartition].End {
		return nil, "chunk_missing", nil
	}
	data = make([]byte, 0, m.Bytes)
	got := 0
	err = c.s.c.Cluster.Read(ctx, schemas.TopicCheckpoints, m.ChunkPartition, want, func(rec schemas.Record) bool {
		if got == n || rec.Offset < m.ChunkOffsets[got] {
			return true // another partition's, written meanwhile
		}
		expect := m.Chunk(got, nil)
		switch {
		case rec.Offset != m.ChunkOffsets[got] || !bytes.Equal(rec.Key, expect.Key):
			reason = "chunk_missing" // compacted: a newer checkpoint took the slot
		case int64(len(data)+len(rec.Value)) > m.Bytes:
			reason = "chunk_hash"
		case !c.verify(&rec):
			reason = "chunk_mac"
		}
		data = append(data, rec.Value...)
		got++
		return reason == ""
	})
	switch {
	case err != nil || reason != "":
	case got != n:
		reason = "chunk_missing"
	case int64(len(data)) != m.Bytes || sha256.Sum256(data) != m.SHA256:
		reason = "chunk_hash"
	}
	return data, reason, err
}

// take returns the state that startAt loaded for a partition.
func (c *checkpoints) take(partition int32) *loadedState {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.loaded[partition]
	delete(c.loaded, partition)
	c.written[partition] = time.Now()
	return l
}

func (c *checkpoints) forget(partition int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.written, partition)
}

// age is how old the oldest of the owned partitions' checkpoints is.
func (c *checkpoints) age() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Duration(0)
	for _, at := range c.written {
		age = max(age, time.Since(at))
	}
	return age.Seconds()
}

// write makes the state in data a checkpoint: chunks first, and the manifest
// once all of them were acknowledged.
func (c *checkpoints) write(ctx context.Context, m schemas.Checkpoint, data []byte) error {
	c.mu.Lock()
	count := c.count
	c.mu.Unlock()
	if count > 1 {
		m.ChunkPartition = 1 + m.Partition%int32(count-1)
	}
	m.Bytes, m.SHA256 = int64(len(data)), sha256.Sum256(data)
	var recs []schemas.Record
	n := 0
	for chunk := range slices.Chunk(data, schemas.MaxCheckpointChunkBytes) {
		recs = append(recs, c.seal(m.Chunk(n, chunk)))
		n++
		if len(recs) < chunksInFlight && n*schemas.MaxCheckpointChunkBytes < len(data) {
			continue
		}
		done, err := c.s.c.Producer.ProduceSync(ctx, recs...)
		if err != nil {
			return err
		}
		for i := range done {
			m.ChunkOffsets = append(m.ChunkOffsets, done[i].Offset)
		}
		recs = recs[:0]
		if err := c.s.interrupt(FaultChunks); err != nil {
			return err
		}
	}
	if err := c.s.interrupt(FaultManifest); err != nil {
		return err
	}
	_, err := c.s.c.Producer.ProduceSync(ctx, c.seal(m.Record()))
	return err
}

func (c *checkpoints) seal(rec schemas.Record) schemas.Record {
	rec.Headers = append(rec.Headers, schemas.Header{Key: schemas.HeaderMAC, Value: c.s.c.Box.MAC(Purpose, schemas.MACInput(&rec))})
	return rec
}

// keeper is the checkpointing of one owned partition. Only the goroutine of the
// partition uses it.
type keeper struct {
	c       *checkpoints
	last    time.Time
	records int // since the last checkpoint was begun
	slot    int
	// running gives the outcome of the checkpoint being written; nil if none is.
	running chan error
	cancel  context.CancelFunc
}

// finished takes the outcome of a checkpoint that has ended.
func (k *keeper) finished(partition int32, err error) {
	k.cancel()
	k.running = nil
	if err == nil {
		k.slot = (k.slot + 1) % schemas.CheckpointSlots
		k.c.mu.Lock()
		if _, owned := k.c.written[partition]; owned {
			k.c.written[partition] = time.Now()
		}
		k.c.mu.Unlock()
	}
}

// first writes that the state is empty before the record at an offset, and waits
// until that is durable: nothing that comes of the record is committed before,
// so that from the first commit on a new owner comes to the same state. If the
// brokers refuse it, the partition goes on without.
func (k *keeper) first(ctx context.Context, p *partition, offset int64) error {
	select {
	case k.c.busy <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	k.begin(p, offset, firstWithin)
	if k.running == nil {
		return nil
	}
	select {
	case err := <-k.running:
		k.finished(p.a.Partition, err)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// due begins a checkpoint if it is time for one. p's outputs up to p.next are
// acknowledged.
func (k *keeper) due(p *partition) {
	if k.running != nil {
		select {
		case err := <-k.running:
			k.finished(p.a.Partition, err)
		default:
			return
		}
	}
	if k.records == 0 || p.next < p.live || k.records < k.c.policy.Records && time.Since(k.last) < k.c.policy.Every {
		return
	}
	select {
	case k.c.busy <- struct{}{}:
		k.begin(p, p.next, writeWithin)
	default: // another partition's turn; the next batch tries again
	}
}

// begin encodes the state before the record at an offset, and writes it on a
// goroutine of its own. The caller holds busy, which is passed on.
func (k *keeper) begin(p *partition, offset int64, within time.Duration) {
	c := k.c
	k.last, k.records = time.Now(), 0
	data, err := p.part.AppendSnapshot(c.buffer[:0], c.policy.BytesMax)
	if err != nil {
		c.s.m.checkpointFailed.WithLabelValues("too_large").Inc()
		<-c.busy
		return
	}
	if c.buffer = data; cap(data) > bufferKept {
		c.buffer = nil
	}
	m := schemas.Checkpoint{
		Stage: c.s.c.Name, Topic: p.a.Topic, TopicID: p.a.TopicID, Partition: p.a.Partition, Offset: offset, Epoch: p.a.Epoch,
		Ruleset: p.changes.version, Time: k.last, Slot: k.slot,
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	running := make(chan error, 1)
	k.running, k.cancel = running, cancel
	go func() {
		err := c.write(ctx, m, data)
		if err != nil {
			c.s.m.checkpointFailed.WithLabelValues("write").Inc()
			c.s.c.Log.Warn("checkpoint not written", "stage", c.s.c.Name, "partition", m.Partition, "offset", m.Offset, "err", err)
		} else {
			c.s.m.checkpointWritten.Inc()
			c.s.m.checkpointBytes.Add(float64(len(data)))
			c.s.m.checkpointSeconds.Add(time.Since(m.Time).Seconds())
		}
		<-c.busy
		running <- err
	}()
}

// close writes the unwritten checkpoints, within the policy's time. clean says
// that the outputs up to p.next are acknowledged and nothing was handled beyond.
func (k *keeper) close(p *partition, clean bool) {
	defer k.c.forget(p.a.Partition)
	end := time.NewTimer(k.c.policy.CloseWithin)
	defer end.Stop()
	await := func() bool {
		if k.running == nil {
			return true
		}
		select {
		case err := <-k.running:
			k.finished(p.a.Partition, err)
			return true
		case <-end.C:
			k.cancel()
			k.c.s.m.checkpointFailed.WithLabelValues("timeout").Inc()
			return false
		}
	}
	if !await() || !clean || k.records == 0 || p.next < p.live || k.c.s.interrupt(FaultClose) != nil {
		return
	}
	select {
	case k.c.busy <- struct{}{}:
		k.begin(p, p.next, k.c.policy.CloseWithin)
		await()
	case <-end.C:
		k.c.s.m.checkpointFailed.WithLabelValues("timeout").Inc()
	}
}
