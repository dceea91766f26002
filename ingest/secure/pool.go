package secure

import "runtime"

// Pool keeps a few coders for reuse. Unlike sync.Pool it is not emptied by the
// garbage collector: a compressor costs more to make than a hundred messages.
type Pool[T any] struct {
	free chan T
	make func() T
}

// NewPool returns a Pool that keeps at most a few coders per processor.
func NewPool[T any](fresh func() T) *Pool[T] {
	return &Pool[T]{free: make(chan T, 8*runtime.GOMAXPROCS(0)), make: fresh}
}

// Get returns a kept coder or a fresh one.
func (p *Pool[T]) Get() T {
	select {
	case c := <-p.free:
		return c
	default:
		return p.make()
	}
}

// Put keeps a coder, or drops it when enough are kept.
func (p *Pool[T]) Put(c T) {
	select {
	case p.free <- c:
	default:
	}
}
