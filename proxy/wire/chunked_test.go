package wire_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// decode gives in to a decoder in pieces that end at the offsets cuts. used counts octets up to the end of the body or
// to the error.
func decode(in string, cuts ...int) (data string, used int, done bool, err error) {
	var c wire.Chunked
	var out []byte
	from := 0
	for _, to := range append(cuts, len(in)) {
		piece := []byte(in[from:to])
		n, u, derr := c.Decode(piece)
		out = append(out, piece[:n]...)
		used += u
		if derr != nil || c.Done {
			return string(out), used, c.Done, derr
		}
		if u != len(piece) {
			return string(out), used, c.Done, fmt.Errorf("%d of %d octets used without an end", u, len(piece))
		}
		from = to
	}
	return string(out), used, false, nil
}

// everySplit holds that it does not matter how the octets come: in one piece, in two, in three, one by one.
func everySplit(t *testing.T, in string, check func(t *testing.T, data string, used int, done bool, err error)) {
	t.Helper()
	try := func(cuts ...int) {
		t.Helper()
		data, used, done, err := decode(in, cuts...)
		if check(t, data, used, done, err); t.Failed() {
			t.Fatalf("cut at %v", cuts)
		}
	}
	try()
	one := make([]int, 0, len(in))
	for i := range len(in) {
		one = append(one, i)
		if len(in) < 1000 || i < 20 || i > len(in)-20 || i%97 == 0 {
			try(i)
		}
		if len(in) < 100 {
			for k := i; k < len(in); k++ {
				try(i, k)
			}
		}
	}
	try(one...)
}

func TestChunked(t *testing.T) {
	long := strings.Repeat("0123456789", 700)
	for _, c := range []struct{ name, in, data string }{
		{"empty", "0\r\n\r\n", ""},
		{"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"},
		{"two chunks", "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "hello, world"},
		{"hexadecimal in both cases", "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a"},
		{"leading zeros", "000000000000005\r\nhello\r\n000\r\n\r\n", "hello"},
		{"extension", "5;a=b\r\nhello\r\n0;last\r\n\r\n", "hello"},
		{"extension in quotes", "5;a=\"b c\"\r\nhello\r\n0\r\n\r\n", "hello"},
		{"empty extension", "5;\r\nhello\r\n0\r\n\r\n", "hello"},
		{"trailers", "5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", "hello"},
		{"data like framing", "c\r\n\r\n0\r\n\r\nGET /\r\n0\r\n\r\n", "\r\n0\r\n\r\nGET /"},
		{"a long chunk", "1b58\r\n" + long + "\r\n0\r\n\r\n", long},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, behind := range []string{"", "POST / HTTP/1.1\r\n", "\r\n"} {
				in := c.in + behind
				everySplit(t, in, func(t *testing.T, data string, used int, done bool, err error) {
					if err != nil || data != c.data || used != len(c.in) || !done {
						t.Errorf("%d octets of data, %d used, done %v, %v; want %d, %d, true, none", len(data), used, done, err, len(c.data), len(c.in))
					}
				})
			}
			for i := range c.in {
				if _, _, done, err := decode(c.in[:i]); done || err != nil {
					t.Fatalf("%d octets of it: done %v, %v", i, done, err)
				}
			}
		})
	}
}

func TestChunkedRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		at       int // the octet that is refused
	}{
		{"no size", "\r\nhello", 0},
		{"no size before an extension", ";a\r\n", 0},
		{"a sign", "+5\r\nhello\r\n", 0},
		{"below zero", "-5\r\nhello\r\n", 0},
		{"0x", "0x5\r\nhello\r\n", 1},
		{"a space before the size", " 5\r\nhello\r\n", 0},
		{"a space behind the size", "5 \r\nhello\r\n", 1},
		{"a tab behind the size", "5\t;a\r\nhello\r\n", 1},
		{"an underscore", "5_0\r\n", 1},
		{"a size of 16 digits", "0000000000000005\r\nhello\r\n", 15},
		{"a size that wraps", "10000000000000005\r\nhello\r\n", 15},
		{"size line with bare LF", "5\nhello\r\n0\r\n\r\n", 1},
		{"size line with bare CR", "5\rhello\r\n", 2},
		{"CR CR LF", "5\r\r\nhello", 2},
		{"extension with bare LF", "5;a\nhello\r\n", 3},
		{"extension with bare CR", "5;a\rb\r\nhello", 4},
		{"extension with a NUL", "5;a\x00\r\nhello", 3},
		{"chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n", 8},
		{"chunk shorter than its size", "6\r\nhello\r\n0\r\n\r\n", 9},
		{"data with bare LF behind it", "5\r\nhello\n0\r\n\r\n", 8},
		{"data with bare CR behind it", "5\r\nhello\r0\r\n\r\n", 9},
		{"data with an extra line behind it", "5\r\nhello\r\n\r\n0\r\n\r\n", 10},
		{"last chunk with bare LF", "0\n\n", 1},
		{"trailer with bare LF", "0\r\nX: a\n\r\n", 7},
		{"trailer with bare CR", "0\r\nX: a\rb\r\n\r\n", 8},
		{"trailer with a NUL", "0\r\nX: \x00\r\n\r\n", 6},
		{"trailer without a colon", "0\r\nX\r\n\r\n", 4},
		{"trailer without a name", "0\r\n: a\r\n\r\n", 3},
		{"trailer with a space in its name", "0\r\nX : a\r\n\r\n", 4},
		{"a folded trailer", "0\r\nX: a\r\n b\r\n\r\n", 9},
		{"a request for a trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", 6},
		{"the end with bare LF", "0\r\n\n", 3},
		{"the end with bare CR", "0\r\n\rX", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			everySplit(t, c.in, func(t *testing.T, data string, used int, done bool, err error) {
				if status(err) != 400 || used != c.at || done {
					t.Errorf("%v at octet %d, done %v; want a refusal at %d", err, used, done, c.at)
				}
			})
		})
	}
}

// TestChunkedBounds holds what a peer may spend on what is dropped.
func TestChunkedBounds(t *testing.T) {
	const most = 8 << 10
	for _, c := range []struct {
		name, in string
		status   int
	}{
		{"as long an extension as may be", "1;" + strings.Repeat("a", most) + "\r\nx\r\n0\r\n\r\n", 0},
		{"one octet more", "1;" + strings.Repeat("a", most+1) + "\r\nx\r\n0\r\n\r\n", 400},
		{"extensions of many chunks count together", strings.Repeat("1;"+strings.Repeat("a", 100)+"\r\nx\r\n", most/100+1) + "0\r\n\r\n", 400},
		{"as long a trailer as may be", "0\r\nx:" + strings.Repeat("a", most-2) + "\r\n\r\n", 0},
		{"one octet more of a trailer", "0\r\nx:" + strings.Repeat("a", most-1) + "\r\n\r\n", 400},
		{"trailers of many lines count together", "0\r\n" + strings.Repeat("a: b\r\n", most/4+1) + "\r\n", 400},
		{"extension and trailer count together", "1;" + strings.Repeat("a", most/2) + "\r\nx\r\n0\r\na:" + strings.Repeat("a", most/2-1) + "\r\n\r\n", 400},
		{"data are not bounded here", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 1<<20, strings.Repeat("x", 1<<20)), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, done, err := decode(c.in)
			if status(err) != c.status || done != (c.status == 0) {
				t.Fatalf("%v, done %v; want status %d", err, done, c.status)
			}
		})
	}
}

// TestChunkedRoundTrip writes random data in random chunks as the proxy does and reads it in random pieces, in place.
func TestChunkedRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var framed, want []byte
		for range rnd.IntN(20) {
			n := 1 + rnd.IntN([]int{1, 20, 5000}[rnd.IntN(3)])
			chunk := make([]byte, n)
			for i := range chunk {
				chunk[i] = byte(rnd.Uint32())
			}
			want = append(want, chunk...)
			framed = append(append(wire.AppendChunkSize(framed, n), chunk...), "\r\n"...)
		}
		framed = append(wire.AppendChunkSize(framed, 0), "\r\ntail"...)
		var c wire.Chunked
		var got []byte
		for !c.Done {
			if len(framed) == 0 {
				t.Fatal("no end")
			}
			n := 1 + rnd.IntN(len(framed))
			piece := bytes.Clone(framed[:n])
			data, used, err := c.Decode(piece)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, piece[:data]...)
			framed = framed[used:]
		}
		if !bytes.Equal(got, want) || string(framed) != "tail" {
			t.Fatalf("%d octets came of %d, %q is left", len(got), len(want), framed)
		}
	}
}

func TestAppendChunkSize(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 15, 16, 255, 256, 65535, 65536, 1<<31 - 1, 1<<40 + 5, 1<<63 - 1} {
		if got, want := string(wire.AppendChunkSize([]byte("x"), n)), fmt.Sprintf("x%x\r\n", n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	buf := make([]byte, 0, 32)
	if n := testing.AllocsPerRun(100, func() { buf = wire.AppendChunkSize(buf[:0], 65536) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
