package dnsserver

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"
)

// DNS cookies (RFC 7873) in the interoperable form of RFC 9018: the server cookie is
// version (1) | reserved (3) | timestamp (4) | SipHash-2-4 of client cookie, these eight octets and client address.
const (
	clientCookieLen = 8
	serverCookieLen = 16
	cookieLen       = clientCookieLen + serverCookieLen

	cookieOld    = 3600 // seconds: not valid after that (RFC 9018, 4.3)
	cookieFuture = 300  // seconds that the clock of another server may be ahead
	cookieRenew  = 1800 // seconds after which a valid one is replaced
)

// cookieJar holds the secrets: the first makes cookies, all verify.
type cookieJar struct {
	keys   [][2]uint64
	random bool // the only secret was made at the start
}

func (j *cookieJar) add(secret [16]byte) {
	j.keys = append(j.keys, [2]uint64{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])})
}

// seal writes the whole cookie for the client cookie at c[:8] into c; now is in seconds since 1970.
func (j *cookieJar) seal(c *[cookieLen]byte, src netip.Addr, now uint32) {
	binary.BigEndian.PutUint32(c[8:], 1<<24)
	binary.BigEndian.PutUint32(c[12:], now)
	binary.LittleEndian.PutUint64(c[16:], cookieHash(j.keys[0], (*[16]byte)(c[:16]), src))
}

// open says whether c is a cookie that one of our secrets made for this client, and whether it should be renewed.
func (j *cookieJar) open(c *[cookieLen]byte, src netip.Addr, now uint32) (valid, renew bool) {
	if binary.BigEndian.Uint32(c[8:])>>24 != 1 {
		return false, true
	}
	age := int32(now - binary.BigEndian.Uint32(c[12:])) // serial arithmetic (RFC 9018, 4.3)
	if age > cookieOld || age < -cookieFuture {
		return false, true
	}
	sum := binary.LittleEndian.Uint64(c[16:])
	for i, k := range j.keys {
		if cookieHash(k, (*[16]byte)(c[:16]), src) == sum {
			return true, i > 0 || age > cookieRenew
		}
	}
	return false, true
}

func cookieHash(k [2]uint64, head *[16]byte, src netip.Addr) uint64 {
	var in [32]byte
	copy(in[:], head[:])
	if src.Is4() {
		a := src.As4()
		return sipHash(k, in[:16+copy(in[16:], a[:])])
	}
	a := src.As16()
	return sipHash(k, in[:16+copy(in[16:], a[:])])
}

// sipHash is SipHash-2-4.
func sipHash(k [2]uint64, p []byte) uint64 {
	v0, v1 := k[0]^0x736f6d6570736575, k[1]^0x646f72616e646f6d
	v2, v3 := k[0]^0x6c7967656e657261, k[1]^0x7465646279746573
	round := func() {
		v0 += v1
		v2 += v3
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v1
		v0 += v3
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	for i, c := range p {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// unixSeconds is t as RFC 9018 counts, modulo 2^32.
func unixSeconds(t time.Time) uint32 { return uint32(t.Unix()) }
