package engine

// KeepAllAlike makes the engine keep every event as long as the longest timeframe.
func (e *Engine) KeepAllAlike() {
	clear(e.kinds.byRule)
	for _, w := range e.kinds.windows {
		e.kinds.windows[0] = max(e.kinds.windows[0], w)
	}
}

// Remembered returns how many events are remembered under a key.
func (s *Keyed) Remembered(key string) int { return s.keys.byName[key].events }

// HeldByHistories returns how many events the histories of a key keep in memory.
func (s *Keyed) HeldByHistories(key string) int {
	n := 0
	for _, m := range []map[int]*history{s.keys.byName[key].bySid, s.keys.byName[key].byGroup} {
		for _, h := range m {
			for _, r := range h.items {
				if r != nil {
					n++
				}
			}
		}
	}
	return n
}
