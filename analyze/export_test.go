package analyze

// SetFault lets f end the worker, as if it were killed, by an error.
func (o *Options) SetFault(f func(at string) error) { o.fault = f }
