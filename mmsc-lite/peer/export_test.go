package peer

// Running says whether Run is under way.
func (x *Relay) Running() bool {
	if x.enter() {
		x.leave()
		return true
	}
	return false
}
