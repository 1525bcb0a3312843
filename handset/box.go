package handset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Files of a message's folder beside its parts.
const (
	pduFile  = "message.mms"
	jsonFile = "message.json"
)

// keyLength is the length of keyOf's text, the end of a message's folder's name.
const keyLength = 16

// storedKeys gives the keys of the messages in a phone's folder, oldest first, at most as many as a phone remembers.
func storedKeys(dir string) ([]string, error) {
	list, err := os.ReadDir(dir) // sorted by name, which begins with the time
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, e := range list {
		name := e.Name()
		if e.IsDir() && len(name) > keyLength+1 && name[0] != '.' && name[len(name)-keyLength-1] == '-' {
			keys = append(keys, name[len(name)-keyLength:])
		}
	}
	return keys[max(0, len(keys)-maxSeen):], nil
}

// store writes a message into a folder of its own: the PDU, what its headers say, and its parts under safe names. The folder
// appears when it is whole. Without a Dir nothing is written.
func (p *phone) store(key string, m *mms.PDU) (string, error) {
	if p.dir == "" {
		return "", nil
	}
	fresh := filepath.Join(p.dir, ".new-"+key)
	if err := os.RemoveAll(fresh); err != nil { // left by a run that was killed
		return "", fmt.Errorf("store a message: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return "", fmt.Errorf("store a message: %w", err)
	}
	err := fill(fresh, m)
	folder := filepath.Join(p.dir, time.Now().UTC().Format("20060102T150405.000Z")+"-"+key)
	if err == nil {
		err = os.Rename(fresh, folder)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("store a message: %w", err), os.RemoveAll(fresh))
	}
	return folder, nil
}

func fill(dir string, m *mms.PDU) error {
	root, err := os.OpenRoot(dir) // whatever a name does, nothing is written elsewhere
	if err != nil {
		return err
	}
	defer root.Close() // opened for its name only
	doc, err := mmsjson.Marshal(m, "")
	if err != nil {
		return err
	}
	if err := errors.Join(root.WriteFile(pduFile, m.Encode(), 0o600), root.WriteFile(jsonFile, doc, 0o600)); err != nil {
		return err
	}
	n := names{pduFile: true, jsonFile: true}
	if m.ContentType != nil && m.Parts == nil && len(m.Body) > 0 {
		return root.WriteFile(n.take("", m.ContentType.Type, 1), m.Body, 0o600)
	}
	return n.write(root, m.Parts)
}

// names are the file names that are taken in a folder, in small letters.
type names map[string]bool

// write writes the parts; of one that is a multipart itself, its parts.
func (n names) write(root *os.Root, parts []wsp.Part) error {
	for i := range parts {
		part := &parts[i]
		if len(part.Parts) > 0 {
			if err := n.write(root, part.Parts); err != nil {
				return err
			}
			continue
		}
		if err := root.WriteFile(n.take(part.FileName(), part.ContentType.Type, i+1), content(part), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// content is a part's data in the clear; as it stands when its Content-Transfer-Encoding can't be undone.
func content(p *wsp.Part) []byte {
	r, ok := wsp.Undo(p.TransferEncoding(), p.Open(nil))
	if !ok {
		return p.Data
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return p.Data
	}
	return b
}

var extensions = map[string]string{
	"application/smil": ".smil", "text/plain": ".txt", "text/html": ".html", "text/x-vcard": ".vcf", "image/jpeg": ".jpg", "image/gif": ".gif",
	"image/png": ".png", "image/vnd.wap.wbmp": ".wbmp", "audio/amr": ".amr", "audio/midi": ".mid", "audio/mp4": ".m4a", "video/3gpp": ".3gp", "video/mp4": ".mp4",
}

// take gives a name of letters, digits, dot, hyphen and underscore, close to what the peer called the part, that no other
// file of the folder has: letters' case does not count, since it does not on every file system.
func (n names) take(name, mediaType string, number int) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, path.Base(strings.ReplaceAll(name, `\`, "/")))
	name = strings.TrimLeft(name, ".")
	if strings.Trim(name, "._") == "" {
		name = fmt.Sprintf("part-%d%s", number, extensions[strings.ToLower(mediaType)])
	}
	const longest = 80
	ext := path.Ext(name)
	if len(ext) > 12 {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	stem = stem[:min(len(stem), longest-len(ext))]
	name = stem + ext
	for i := 2; n[strings.ToLower(name)]; i++ {
		name = fmt.Sprintf("%s-%d%s", stem, i, ext)
	}
	n[strings.ToLower(name)] = true
	return name
}
