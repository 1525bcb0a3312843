package provider

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
)

// Garbage says that it is of a type and is not.
func Garbage(media string) Answer {
	return Answer{Type: media, Body: []byte("\x00\xff<html>certainly not what it says\x01")}
}

// Endless answers with octets until the router hangs up.
func Endless(media string) Answer {
	return Answer{Do: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		block := []byte(strings.Repeat(" ", 64<<10))
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}}
}

// Silent takes the request and never answers; the router has to hang up.
func Silent() Answer {
	return Answer{Do: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
}

// Trickle begins an answer and goes on with it until the router hangs up, an octet for each tick.
func Trickle(media string, tick <-chan struct{}) Answer {
	return Answer{Do: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", media)
		for {
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-tick:
			case <-r.Context().Done():
				return
			}
		}
	}}
}

// Cut promises more than it gives.
func Cut(media string) Answer {
	return Answer{Do: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("half of it")) // then the server breaks the connection
	}}
}

// Redirect sends elsewhere.
func Redirect(status int, to string) Answer {
	return Answer{Status: status, Header: http.Header{"Location": {to}}}
}

// XMLBomb is an answer of entities that would become gigabytes.
func XMLBomb() Answer {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\">")
	for c := 'b'; c <= 'k'; c++ {
		b.WriteString("<!ENTITY " + string(c) + " \"" + strings.Repeat("&"+string(c-1)+";", 10) + "\">")
	}
	b.WriteString(`]><service-reply xmlns="urn:mmsrouter:service:1" version="1"><text>&k;</text></service-reply>`)
	return Answer{Type: "application/xml", Body: []byte(b.String())}
}

// XMLDeep is an answer of elements within elements.
func XMLDeep() Answer {
	return Answer{Type: "application/xml", Body: []byte(`<service-reply xmlns="urn:mmsrouter:service:1" version="1">` + strings.Repeat("<page>", 200_000))}
}

// ZipBomb is a zip whose one file unpacks to size octets.
func ZipBomb(size int64) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("text.txt")
	if err == nil {
		_, err = io.CopyN(f, zeros{}, size)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// GzipBomb is an answer whose content coding unpacks to size octets.
func GzipBomb(media string, size int64) Answer {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.CopyN(z, zeros{}, size); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return Answer{Type: media, Header: http.Header{"Content-Encoding": {"gzip"}}, Body: b.Bytes()}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// PictureBomb is a small PNG that says it has width times height pixels, one octet each, all of one colour.
func PictureBomb(width, height uint32) []byte {
	b := bytes.NewBuffer([]byte("\x89PNG\r\n\x1a\n"))
	chunk := func(name string, data []byte) {
		head := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), name...)
		b.Write(head)
		b.Write(data)
		b.Write(binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.ChecksumIEEE([]byte(name)), crc32.IEEETable, data)))
	}
	chunk("IHDR", append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height), 8, 0, 0, 0, 0))
	var pixels bytes.Buffer
	z := zlib.NewWriter(&pixels)
	// What the head promises is what a decoder makes room for; the pixels themselves may end early.
	if _, err := io.CopyN(z, zeros{}, min(int64(height)*(int64(width)+1), 1<<20)); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	chunk("IDAT", pixels.Bytes())
	chunk("IEND", nil)
	return b.Bytes()
}
