package handsets

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/test/pdu"
)

var errAnswer = errors.New("not a proper answer")

// maxAnswer bounds what a handset takes.
const maxAnswer = 64 << 20

// readAnswer reads one answer, interim ones first.
func readAnswer(br *bufio.Reader, method string, goOn chan<- bool) (a Answer, err error) {
	for {
		if err = readHead(br, &a); err != nil {
			return a, err
		}
		if a.Status >= 200 {
			break
		}
		if a.Interim++; a.Status == 100 {
			select {
			case goOn <- true:
			default:
			}
		}
	}
	a.Close = strings.EqualFold(a.Get("Connection"), "close") || a.Proto == "HTTP/1.0"
	if method == "HEAD" || a.Status == 204 || a.Status == 304 {
		return a, nil
	}
	cl, te := a.Get("Content-Length"), a.Get("Transfer-Encoding")
	switch {
	case te != "" && cl != "":
		return a, fmt.Errorf("%w: both Content-Length and Transfer-Encoding", errAnswer)
	case strings.EqualFold(te, "chunked"):
		a.Body, err = readChunks(br)
	case te != "":
		return a, fmt.Errorf("%w: Transfer-Encoding %q", errAnswer, te)
	case cl != "":
		n, err := strconv.ParseUint(cl, 10, 31)
		if err != nil || n > maxAnswer {
			return a, fmt.Errorf("%w: Content-Length %q", errAnswer, cl)
		}
		a.Body = make([]byte, n)
		if k, err := io.ReadFull(br, a.Body); err != nil {
			return a, fmt.Errorf("answer body: %d of %d octets: %w", k, n, err)
		}
	default:
		return a, fmt.Errorf("%w: status %d with no length, delimited by the end only", errAnswer, a.Status)
	}
	if err == nil {
		a.PDU, a.IsPDU = pdu.Read(a.Body)
	}
	return a, err
}

func readLine(br *bufio.Reader) (string, error) {
	l, err := br.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(l) < 2 || l[len(l)-2] != '\r' {
		return "", fmt.Errorf("%w: line %q", errAnswer, l)
	}
	return string(l[:len(l)-2]), nil
}

func readHead(br *bufio.Reader, a *Answer) error {
	l, err := readLine(br)
	if err != nil {
		return err
	}
	proto, rest, _ := strings.Cut(l, " ")
	code, _, _ := strings.Cut(rest, " ")
	a.Proto, a.Header = proto, nil
	if a.Status, err = strconv.Atoi(code); err != nil || len(code) != 3 || !strings.HasPrefix(proto, "HTTP/1.") {
		return fmt.Errorf("%w: status line %q", errAnswer, l)
	}
	for range 200 {
		if l, err = readLine(br); err != nil {
			return err
		}
		if l == "" {
			return nil
		}
		name, value, ok := strings.Cut(l, ":")
		if !ok {
			return fmt.Errorf("%w: field %q", errAnswer, l)
		}
		a.Header = append(a.Header, [2]string{name, strings.TrimSpace(value)})
	}
	return fmt.Errorf("%w: too many fields", errAnswer)
}

func readChunks(br *bufio.Reader) (body []byte, err error) {
	for {
		l, err := readLine(br)
		if err != nil {
			return body, err
		}
		size, _, _ := strings.Cut(l, ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || n > maxAnswer {
			return body, fmt.Errorf("%w: chunk size %q", errAnswer, l)
		}
		if n == 0 {
			for {
				if l, err = readLine(br); err != nil || l == "" {
					return body, err
				}
			}
		}
		at := len(body)
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(br, body[at:]); err != nil {
			return body, err
		}
		if l, err = readLine(br); err != nil || l != "" {
			return body, fmt.Errorf("%w: chunk end %q (%v)", errAnswer, l, err)
		}
	}
}
