package peer

// Running says whether Run is under way.
func (x *Relay) Running() bool {
	if x.enter() {
		x.leave()
		return true
	}
	return false
}

// Finder gives the function that turns a location into the URL that is asked.
func Finder(c Config) (func(raw string) (string, error), error) {
	set, err := compile(c, nil)
	if err != nil {
		return nil, err
	}
	return func(raw string) (string, error) {
		at, err := set.find(raw)
		if err != nil {
			return "", err
		}
		return at.url, nil
	}, nil
}
