package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// snapshotEvery is how many records of the registry lie between snapshots.
	snapshotEvery = 10_000
	// snapshotWait is the longest a node waits before it writes the snapshot that
	// is due; it waits for a random part of it, so that one of many writes.
	snapshotWait = 30 * time.Second
	// snapshotTimeout bounds the writing of one.
	snapshotTimeout = 2 * time.Minute
	// manifestsMax bounds the manifests remembered, the newest.
	manifestsMax = 8
	// retryMin and retryMax bound the pause between attempts to read the snapshots.
	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
)

const purposeSnapshot = "registry snapshot"

// Snapshot writes the whole state to TopicSnapshots, so that a node which starts
// need not read the registry from its beginning, and returns the offset it holds.
// Records that the snapshot before it holds are then removed from the registry, as
// are older snapshots. Snapshots by several nodes at once do no harm.
//
// It is sealed and authenticated under the first cluster key.
func (r *Registry) Snapshot(ctx context.Context) (int64, error) {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return 0, fmt.Errorf("registry is not ready: %w", ctx.Err())
	}
	if err := r.Err(); err != nil {
		return 0, err
	}
	r.writing.Lock() // one at a time on a node; nothing else is locked around it
	defer r.writing.Unlock()
	topicID, err := r.cluster.TopicID(ctx, schemas.TopicRegistry)
	if err != nil {
		return 0, err
	}
	r.mu.RLock()
	state := r.state.AppendBinary(nil)
	offset, form := r.state.offset, r.state.form()
	r.mu.RUnlock()

	m := schemas.SnapshotManifest{
		V: schemas.SnapshotVersion, ID: secret.RandomHex(16), Format: form, TopicID: topicID, Offset: offset,
		Node: r.node, Time: time.Now().UnixMilli(), Bytes: int64(len(state)),
	}
	sum := sha256.Sum256(state)
	m.SHA256 = hex.EncodeToString(sum[:])
	for part := range slices.Chunk(state, schemas.SnapshotChunkBytes) {
		n := len(m.Chunks)
		if n >= schemas.SnapshotChunksMax {
			return 0, fmt.Errorf("snapshot of the registry: %d bytes are more than %d chunks hold", len(state), schemas.SnapshotChunksMax)
		}
		sealed := r.box.Seal(purposeSnapshot, part, []byte(schemas.SnapshotChunkName(m.ID, n)))
		done, err := r.prod.ProduceSync(ctx, schemas.SnapshotChunkRecord(m.ID, n, sealed))
		if err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
		m.Chunks = append(m.Chunks, done[0].Offset)
	}
	// Another node that was faster may have removed the records before its own.
	ranges, err := r.cluster.Ranges(ctx, schemas.TopicSnapshots)
	if err != nil {
		return 0, err
	}
	if ranges[0].Start > m.Chunks[0] {
		return 0, errors.New("write snapshot: another node's replaced it meanwhile")
	}
	value, err := m.Encode()
	if err != nil {
		return 0, err
	}
	if _, err := r.prod.ProduceSync(ctx, schemas.SnapshotManifestRecord(value, r.box.MAC(purposeSnapshot, value))); err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	r.m.snapshots.Inc()
	r.log.Info("snapshot of the registry written", "offset", offset, "bytes", len(state))
	r.noteManifest(m)
	if err := r.cut(ctx, topicID); err != nil {
		r.log.Warn("what the snapshots hold stays in the topics", "err", err) // more to read, nothing is wrong
	}
	return offset, nil
}

// cut removes records that two snapshots hold from the registry, and the snapshots before those.
func (r *Registry) cut(ctx context.Context, topicID string) error {
	r.mu.RLock()
	var own []schemas.SnapshotManifest
	for _, m := range r.manifests {
		if m.TopicID == topicID {
			own = append(own, m)
		}
	}
	r.mu.RUnlock()
	if len(own) < 2 {
		return nil
	}
	before := own[len(own)-2]
	first := min(before.Chunks[0], own[len(own)-1].Chunks[0])
	// The last record stays in any case: the embedded broker counts from 0 again
	// when it starts with an empty log.
	return errors.Join(
		r.cluster.DeleteBefore(ctx, schemas.TopicRegistry, 0, max(0, before.Offset)),
		r.cluster.DeleteBefore(ctx, schemas.TopicSnapshots, 0, first),
	)
}

// noteManifest remembers a manifest that verified, in the order of offsets.
func (r *Registry) noteManifest(m schemas.SnapshotManifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.manifests, func(x schemas.SnapshotManifest) bool { return x.ID == m.ID }) {
		return
	}
	r.manifests = append(r.manifests, m)
	slices.SortStableFunc(r.manifests, func(a, b schemas.SnapshotManifest) int { return int(a.Offset - b.Offset) })
	if n := len(r.manifests) - manifestsMax; n > 0 {
		r.manifests = slices.Delete(r.manifests, 0, n)
	}
	r.m.snapshotOffset.Set(float64(r.manifests[len(r.manifests)-1].Offset))
}

// onSnapshot notes manifests of other nodes as they come.
func (r *Registry) onSnapshot(rec schemas.Record) {
	if m, ok := r.manifest(rec); ok {
		r.noteManifest(m)
	}
}

func (r *Registry) manifest(rec schemas.Record) (schemas.SnapshotManifest, bool) {
	if !schemas.IsSnapshotManifest(&rec) {
		return schemas.SnapshotManifest{}, false
	}
	if !r.box.Verify(purposeSnapshot, rec.Value, rec.Header(schemas.HeaderMAC)) {
		r.noteForeign(rec)
		r.reject(rec, "mac")
		return schemas.SnapshotManifest{}, false
	}
	r.verified.Store(true)
	m, err := schemas.ParseSnapshotManifest(rec.Value)
	if err != nil {
		r.reject(rec, "shape")
		return schemas.SnapshotManifest{}, false
	}
	return m, true
}

// load finds the newest snapshot that is whole and takes it for the state, and
// returns where the registry is to be read from. At a start it waits for the
// brokers; the error is that of ctx.
func (r *Registry) load(ctx context.Context) (from int64, err error) {
	pause := retry.Backoff{Min: retryMin, Max: retryMax}
	for warned := ""; ; {
		from, err := r.tryLoad(ctx)
		if err == nil {
			r.fault.Store(nil)
			return from, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		r.fault.Store(&err)
		if warned != err.Error() {
			warned = err.Error()
			r.log.Warn("waiting for the registry's snapshots", "err", err)
		}
		if err := pause.Wait(ctx); err != nil {
			return 0, err
		}
	}
}

// errInSnapshot says why the outcome of a proposal is not known.
var errInSnapshot = errors.New("this node read it as part of a snapshot")

// errGone says that the log begins behind the end of the snapshots.
var errGone = errors.New("records of the registry are gone and no snapshot holds them")

func (r *Registry) tryLoad(ctx context.Context) (from int64, err error) {
	began := time.Now()
	topicID, err := r.cluster.TopicID(ctx, schemas.TopicRegistry)
	if err != nil {
		return 0, err
	}
	ranges, err := r.cluster.Ranges(ctx, schemas.TopicSnapshots)
	if err != nil {
		return 0, err
	}
	if err := r.cluster.Read(ctx, schemas.TopicSnapshots, 0, ranges[0], func(rec schemas.Record) bool {
		r.onSnapshot(rec)
		return true
	}); err != nil {
		return 0, err
	}
	// The log is asked after the snapshots: one that is cut meanwhile begins too late, and all is done again.
	logs, err := r.cluster.Ranges(ctx, schemas.TopicRegistry)
	if err != nil {
		return 0, err
	}
	log := logs[0]
	r.mu.RLock()
	manifests := slices.Clone(r.manifests)
	r.mu.RUnlock()
	var newer error // why this program cannot read a snapshot of a later one
	for _, m := range slices.Backward(manifests) {
		why := ""
		var state *State
		switch {
		case m.TopicID != topicID && log.Start == 0:
			why = "topic" // of a registry that was made anew since; one that was cut was carried over with it
		case m.Offset+1 < log.Start:
			why = "gap"
		case m.Chunks[0] < ranges[0].Start:
			why = "chunks"
		default:
			if state, err = r.readSnapshot(ctx, &m); err != nil {
				if ctx.Err() != nil {
					return 0, err
				}
				if why = "broken"; errors.Is(err, ErrNewer) {
					newer, why = err, "newer"
				}
				r.log.Warn("snapshot of the registry is not used", "offset", m.Offset, "err", err)
			}
		}
		if why != "" {
			r.m.badSnapshots.WithLabelValues(why).Inc()
			continue
		}
		if err := r.fill(ctx, m.Offset+1-log.End); err != nil {
			return 0, err
		}
		r.install(state)
		r.log.Info("registry begins with a snapshot", "offset", m.Offset, "agents", len(state.byName), "took", time.Since(began).Round(time.Millisecond).String())
		return m.Offset + 1, nil
	}
	if log.Start > 0 && r.foreign.Load() > 0 && !r.verified.Load() {
		return 0, ErrWrongKey
	}
	if log.Start > 0 && newer != nil {
		return 0, fmt.Errorf("%w: %w; upgrade this node", errGone, newer)
	}
	if log.Start > 0 {
		return 0, fmt.Errorf("%w: the log begins at offset %d", errGone, log.Start)
	}
	return 0, nil
}

// fillMax bounds the records that fill writes.
const fillMax = 1 << 20

// fill writes n records that say nothing. Brokers that lost the end of the log,
// as the embedded one may when the power fails, would give new records offsets
// that the snapshot holds already, and everybody would skip those. Nodes that
// fill at once write too many, which does no harm.
func (r *Registry) fill(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	if n > fillMax {
		return fmt.Errorf("the brokers lost %d records of the registry that the snapshot holds", n)
	}
	r.log.Warn("the brokers lost records of the registry that the snapshot holds; writing as many that say nothing", "records", n)
	for n > 0 {
		var recs []schemas.Record
		for range min(n, 500) {
			p := r.proposal(schemas.ProposalIDReserve)
			p.V = schemas.FreeFormat(p.Kind)
			p.IDReserve = &schemas.IDReserve{AgentID: "001"}
			value, err := p.Encode()
			if err != nil {
				return err
			}
			recs = append(recs, schemas.ProposalRecord(value, r.box.MAC(purposeMAC, value)))
		}
		if _, err := r.prod.ProduceSync(ctx, recs...); err != nil {
			return fmt.Errorf("fill the registry: %w", err)
		}
		n -= int64(len(recs))
	}
	return nil
}

// readSnapshot reads a snapshot's chunks and checks everything about them.
func (r *Registry) readSnapshot(ctx context.Context, m *schemas.SnapshotManifest) (*State, error) {
	if m.Format > formNewest {
		return nil, fmt.Errorf("%w: form %d, this program knows %d", ErrNewer, m.Format, formNewest)
	}
	plain := make([]byte, 0, m.Bytes)
	n := 0
	var broken error
	err := r.cluster.Read(ctx, schemas.TopicSnapshots, 0, kafka.Range{Start: m.Chunks[0], End: m.Chunks[len(m.Chunks)-1] + 1}, func(rec schemas.Record) bool {
		if n >= len(m.Chunks) || rec.Offset != m.Chunks[n] {
			return true // another node's, in between
		}
		name := []byte(schemas.SnapshotChunkName(m.ID, n))
		part, err := r.box.Open(purposeSnapshot, rec.Value, name)
		if err != nil || !bytes.Equal(rec.Header(schemas.HeaderChunk), name) {
			broken = errors.Join(fmt.Errorf("chunk %d is not what was written", n), err)
			return false
		}
		plain = append(plain, part...)
		n++
		return true
	})
	if err = errors.Join(err, broken); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(plain); n != len(m.Chunks) || hex.EncodeToString(sum[:]) != m.SHA256 {
		return nil, fmt.Errorf("%d of %d chunks, or others than were written", n, len(m.Chunks))
	}
	s, err := DecodeState(plain)
	if err == nil && s.offset != m.Offset {
		err = errState
	}
	if err != nil {
		return nil, err
	}
	for kind, format := range s.active {
		if format > r.formats[kind] {
			return nil, fmt.Errorf("%w: kind %q, format %d, this program knows format %d", ErrNewer, kind, format, r.formats[kind])
		}
	}
	return s, nil
}

// install replaces the state, which only ever goes forward, and tells what
// changed. Own proposals that the new state has seen have an unknown outcome.
func (r *Registry) install(s *State) {
	r.mu.Lock()
	if r.state.offset > s.offset {
		r.mu.Unlock()
		return
	}
	old := r.state
	r.state = s
	for id, ch := range r.pending {
		if _, ok := s.seen[id]; ok {
			delete(r.pending, id)
			ch <- Outcome{lost: errInSnapshot} // has room for one
		}
	}
	r.mu.Unlock()
	r.m.agents.Set(float64(len(s.byName)))
	if old.offset < 0 {
		return // nobody has seen anything of it
	}
	r.tell(difference(old, s))
}

// difference lists the changes for subscribers when one state takes another's place.
func difference(old, now *State) []Change {
	var cs []Change
	for _, a := range old.Agents() {
		b, ok := now.Agent(a.ID)
		if !a.Removed && (!ok || b.Key != a.Key || b.seq != a.seq) {
			a.Removed = true
			cs = append(cs, Change{Agent: a})
		}
	}
	for _, b := range now.Agents() {
		a, ok := old.Agent(b.ID)
		switch {
		case b.Removed:
		case !ok || a.Key != b.Key || a.seq != b.seq:
			cs = append(cs, Change{Agent: b})
		case !slices.Equal(a.Groups, b.Groups):
			cs = append(cs, Change{Kind: ChangeGroups, Agent: b})
		}
	}
	return cs
}

// keepSnapshots writes a snapshot whenever the newest lies too far behind. The
// nodes need not agree: who waits shortest writes, the others see its manifest.
func (r *Registry) keepSnapshots(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(rand.N(r.snapshotWait) + r.snapshotWait/10):
		}
		if !r.snapshotDue() {
			continue
		}
		write, cancel := context.WithTimeout(ctx, snapshotTimeout)
		if _, err := r.Snapshot(write); err != nil && ctx.Err() == nil {
			r.log.Warn("snapshot of the registry is not written", "err", err)
		}
		cancel()
	}
}

func (r *Registry) snapshotDue() bool {
	// What other nodes may have applied and this one could not verify must not
	// be missing from a snapshot.
	if r.Err() != nil || r.foreign.Load() > 0 {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	last := int64(-1)
	if n := len(r.manifests); n > 0 {
		last = r.manifests[n-1].Offset
	}
	return r.state.offset-last >= int64(r.snapshotEvery)
}

// Status describes the registry to people.
type Status struct {
	// Agents may connect; Removed entries are kept, not purged.
	Agents, Removed, Groups, Users int
	// Offset is that of the last record read, -1 before the first.
	Offset int64
	// Unverified records did not verify since this process read the registry.
	Unverified int64
	// Snapshots are the newest manifests, by offset.
	Snapshots []schemas.SnapshotManifest
}

// Status returns the counts of this node.
func (r *Registry) Status() Status {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.state
	return Status{
		Agents: len(s.byName), Removed: len(s.agents) - len(s.byName), Groups: len(s.groups), Users: len(s.users), Offset: s.offset,
		Unverified: r.foreign.Load(), Snapshots: slices.Clone(r.manifests),
	}
}
