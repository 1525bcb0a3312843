package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// digester makes the digests by which a PDU that comes again is known. Each piece of 64 KiB gets a tag by AES-GMAC with a secret key of the
// database, and the digest is the SHA-256 of the tags: who does not know the key can't make two PDUs with one digest, and it
// costs a quarter of SHA-256 over the whole. The tags themselves are shown to nobody, so that the nonce need not be unique.
type digester struct{ mac cipher.AEAD }

// newDigester reads the database's key, or makes it; of several nodes that start on a new database one makes it for all.
func (s *Store) newDigester(ctx context.Context) (digester, error) {
	const name = "digest"
	fresh := newSecret()
	if _, err := s.write.ExecContext(ctx, `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, fresh[:]); err != nil {
		return digester{}, fmt.Errorf("make the key of digests: %w", err)
	}
	var key []byte
	if err := s.write.QueryRowContext(ctx, `SELECT value FROM secrets WHERE name = $1`, name).Scan(&key); err != nil {
		return digester{}, fmt.Errorf("read the key of digests: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return digester{}, fmt.Errorf("key of digests: %w", err)
	}
	mac, err := cipher.NewGCM(block)
	return digester{mac}, err
}

// Digest gives the digest of all octets. It is made once, when the upload is whole.
func (u *Upload) Digest() ([sha256.Size]byte, error) {
	if u.sum != nil {
		return *u.sum, nil
	}
	h := sha256.New()
	var nonce [12]byte
	var tag [16]byte
	n := uint64(0)
	err := u.each(0, func(piece []byte) error { // of 64 KiB but for the last, wherever they stand
		binary.BigEndian.PutUint64(nonce[4:], n)
		n++
		h.Write(u.digester.mac.Seal(tag[:0], nonce[:], nil, piece))
		return nil
	})
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	u.sum = (*[sha256.Size]byte)(h.Sum(nil))
	return *u.sum, nil
}
