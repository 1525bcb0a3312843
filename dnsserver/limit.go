package dnsserver

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limiter is response rate limiting: a token bucket for each (client prefix, kind of answer), in a table of fixed
// size. A bucket that is not found starts full; in a full row the one unused for the longest is replaced.
type limiter struct {
	conf   RateLimitConfig
	seed   maphash.Seed
	shards [limitShards]limitShard
}

const (
	limitShards = 64
	limitRows   = 256 // per shard
	limitWays   = 4
)

type limitShard struct {
	mu   sync.Mutex
	rows [limitRows][limitWays]bucket
}

type bucket struct {
	key    uint64
	at     int64 // nanoseconds: when tokens was right
	tokens float32
	beyond uint32 // answers beyond the limit, for slip
}

// Verdicts of the limiter.
type limitVerdict int

const (
	send limitVerdict = iota
	slip
	drop
)

// newLimiter gives nil if nothing is limited.
func newLimiter(c RateLimitConfig) *limiter {
	if c.Answers == 0 && c.Errors == 0 {
		return nil
	}
	return &limiter{conf: c, seed: maphash.MakeSeed()}
}

// errorKind is the kind of answer that all errors of a client share.
const errorKind = 0

// verdict takes a token for one answer of a kind (errorKind, or any other number) to src.
func (l *limiter) verdict(src netip.Addr, kind uint64, now time.Time) limitVerdict {
	rate := float32(l.conf.Answers)
	if kind == errorKind {
		rate = float32(l.conf.Errors)
	}
	if rate == 0 {
		return send
	}
	bits := l.conf.IPv6Prefix
	if src.Is4() {
		bits = l.conf.IPv4Prefix
	}
	prefix, err := src.Prefix(bits)
	if err != nil {
		return send // no address, no prefix: only tests get here
	}
	var id [24]byte
	a := prefix.Addr().As16()
	copy(id[:], a[:])
	binary.LittleEndian.PutUint64(id[16:], kind)
	key := maphash.Bytes(l.seed, id[:])
	s := &l.shards[key%limitShards]
	row := &s.rows[key/limitShards%limitRows]
	t := now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &row[0]
	for i := range row {
		if row[i].key == key {
			b = &row[i]
			break
		}
		if row[i].at < b.at {
			b = &row[i]
		}
	}
	if b.key != key {
		*b = bucket{key: key, at: t, tokens: rate}
	}
	if t > b.at {
		b.tokens = min(rate, b.tokens+rate*float32(t-b.at)/1e9)
		b.at = t
	}
	if b.tokens >= 1 {
		b.tokens--
		b.beyond = 0
		return send
	}
	b.beyond++
	if l.conf.Slip > 0 && b.beyond%uint32(l.conf.Slip) == 0 {
		return slip
	}
	return drop
}

// kind numbers the answers to one question; name is in lower-case wire form.
func (l *limiter) kind(name []byte, qtype uint16) uint64 {
	return (maphash.Bytes(l.seed, name) ^ uint64(qtype)<<32) | 1 // never errorKind
}
