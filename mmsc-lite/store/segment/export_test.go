package segment

// BreakSync closes the file under an extent: its next sync fails.
func (e *Extent) BreakSync() error { return e.file.f.Close() }
