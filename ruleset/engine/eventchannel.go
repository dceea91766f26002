package engine

// decodeEventChannel decodes Windows events.
func (s *Keyed) decodeEventChannel() {
	s.setInternal("windows_eventchannel")
}
