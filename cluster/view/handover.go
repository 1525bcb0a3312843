package view

import "fmt"

// Overridden gives all that operators have said, for another process of this router.
func (v *View) Overridden() []byte { return v.overrides.Full() }

// Override takes what Overridden gave in another process; it returns when that is on disk.
func (v *View) Override(b []byte) error {
	if out := v.overrides.Merge(b); len(out.Refused) > 0 {
		return fmt.Errorf("overrides that can't be read: %v", out.Refused)
	}
	return v.store()
}
