package analyze

// PurposeCheckpoint is the purpose of the MAC of checkpoints.
const PurposeCheckpoint = purposeCheckpoint

// Places of SetFault.
const (
	FaultJudged   = faultJudged
	FaultOutput   = faultOutput
	FaultChunks   = faultChunks
	FaultManifest = faultManifest
	FaultClose    = faultClose
	FaultChange   = faultChange
	FaultChanged  = faultChanged
)

// SetFault lets f end the worker, as if it were killed, by an error.
func (o *Options) SetFault(f func(at string) error) { o.fault = f }
