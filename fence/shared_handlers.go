package fence

import "time"

// The handlers of what other routers ask and say. None of them blocks, but for a moment during an upgrade, when the other process of this
// router is asked.

// onHead says what is known of a submission that begins at another router, and notes it if nothing is.
func (s *Shared) onHead(from string, b []byte) ([]byte, error) {
	key, _, err := readKey(b)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	rec := s.own(key, now)
	s.kept.update(key, now, func(old Remote) Remote {
		if old.Phase > rec.Phase {
			rec = old
		}
		if old.Phase == Unknown {
			return Remote{Phase: Uploading, Node: from}
		}
		return old
	})
	return appendRemote(nil, rec), nil
}

// onAsk only tells.
func (s *Shared) onAsk(_ string, b []byte) ([]byte, error) {
	key, _, err := readKey(b)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	rec := s.own(key, now)
	if kept := s.kept.get(key, now); kept.Phase > rec.Phase {
		rec = kept
	}
	return appendRemote(nil, rec), nil
}

// onNote takes over whose a submission is: what stood there was compared, or given up.
func (s *Shared) onNote(from string, b []byte) ([]byte, error) {
	key, _, err := readKey(b)
	if err != nil {
		return nil, err
	}
	s.kept.update(key, time.Now(), func(Remote) Remote { return Remote{Phase: Uploading, Node: from} })
	return nil, nil
}

// onTake gives a submission of this router up, if it is still uploading; the answer says how far it had come.
func (s *Shared) onTake(_ string, b []byte) ([]byte, error) {
	key, _, err := readKey(b)
	if err != nil {
		return nil, err
	}
	rec := s.giveUp(key)
	if t := s.twin.Load(); rec.Phase == Unknown && t != nil {
		rec = s.ofTwin(t, kindTake, key)
	}
	return appendRemote(nil, rec), nil
}

// giveUp breaks a submission of this process off if it is still uploading, and says how far it had come.
func (s *Shared) giveUp(key string) Remote {
	rec := s.here(key, time.Now())
	if rec.Phase == Uploading {
		s.o.Fence.giveUp(key)
		if now := s.here(key, time.Now()); now.Phase > Uploading {
			rec = now // it became whole in that moment
		}
	}
	return rec
}

// onSettle keeps an answer.
func (s *Shared) onSettle(from string, b []byte) ([]byte, error) {
	key, rest, err := readKey(b)
	if err != nil {
		return nil, err
	}
	rec, err := readRemote(rest)
	if err != nil || rec.Phase != Answered {
		return nil, errShared
	}
	rec.Node = from
	s.kept.update(key, time.Now(), func(Remote) Remote { return rec })
	return []byte{sharedVersion}, nil
}

// onGone forgets a submission that came to nothing, if it is still the sender's.
func (s *Shared) onGone(from string, b []byte) ([]byte, error) {
	key, _, err := readKey(b)
	if err != nil {
		return nil, err
	}
	s.kept.update(key, time.Now(), func(old Remote) Remote {
		if old.Phase != Answered && old.Node == from {
			return Remote{}
		}
		return old
	})
	return nil, nil
}

func (s *Shared) onLearn(_ string, b []byte) ([]byte, error) {
	name, keys, err := readOwner(b)
	if err != nil || name == "" {
		return nil, errShared
	}
	now := time.Now()
	for _, k := range keys {
		s.o.Owners.Learn(k, name, now)
	}
	return nil, nil
}

// onFind answers with the name, or nothing.
func (s *Shared) onFind(_ string, b []byte) ([]byte, error) {
	_, keys, err := readOwner(b)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, k := range keys {
		if name := s.o.Owners.Find(k, now); name != "" {
			return []byte(name), nil
		}
	}
	return []byte{}, nil
}

// own is what this router's own fence knows of a key, in this process or in the other one.
func (s *Shared) own(key string, now time.Time) Remote {
	rec := s.here(key, now)
	if t := s.twin.Load(); rec.Phase == Unknown && t != nil {
		rec = s.ofTwin(t, kindAsk, key)
	}
	return rec
}

// ofTwin asks the twin in another router's name.
func (s *Shared) ofTwin(t *twin, kind, key string) Remote {
	b, ok := s.askTwin(t, kind, appendKey(key), s.o.Cap)
	if !ok {
		return Remote{}
	}
	rec, err := readRemote(b)
	if err != nil || rec.Phase == Unknown {
		return Remote{}
	}
	rec.Node = s.o.Node
	return rec
}

// here is what this process's own fence knows of a key.
func (s *Shared) here(key string, now time.Time) Remote {
	if s.o.Fence == nil {
		return Remote{}
	}
	rec := s.o.Fence.peek(key, now)
	if rec.Phase != Unknown {
		rec.Node = s.o.Node
	}
	return rec
}

// peek tells how far a submission has come.
func (f *Fence) peek(key string, now time.Time) Remote {
	h, s := f.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, key)
	switch {
	case e == nil || e.phase == gone:
	case e.phase == uploading:
		return Remote{Phase: Uploading}
	case e.phase == whole:
		return Remote{Phase: Whole, Length: e.length, Digest: e.digest}
	case now.Sub(e.since) <= f.opt.Window && len(e.answer) > 0 && len(e.answer) <= maxSharedAnswer:
		return Remote{Phase: Answered, Length: e.length, Digest: e.digest, Answer: e.answer}
	}
	return Remote{}
}

// giveUp breaks a submission that is still uploading: from now on it can't become whole.
func (f *Fence) giveUp(key string) {
	h, s := f.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(h, key); e != nil && e.phase == uploading {
		s.interrupt(e, 0)
	}
}
