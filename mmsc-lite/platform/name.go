package platform

import (
	"path"
	"strconv"
	"strings"
)

// maxName bounds the name of a part: what older handsets can store.
const maxName = 40

// safeName makes of any text a file name that every handset takes, with the
// extension of the type. base is for what has no name.
func safeName(given, base, media string) string {
	given = strings.ReplaceAll(given, `\`, "/")
	stem := path.Base(path.Clean("/" + given))
	ext := path.Ext(stem)
	stem = strings.TrimSuffix(stem, ext)
	if known, ok := extensions[media]; ok {
		if byExtension[strings.ToLower(ext)] != media {
			ext = known
		}
	}
	stem, ext = plainLetters(stem), plainLetters(ext)
	stem = strings.Trim(stem, "._-")
	if ext == "_" || ext == "." || len(ext) > 8 {
		ext = ""
	}
	if stem == "" {
		stem = base
	}
	return stem[:min(len(stem), maxName-len(ext))] + ext
}

// plainLetters keeps letters, digits, dot, hyphen and underscore of ASCII, and
// puts one underscore for each run of others.
func plainLetters(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			if gap {
				b.WriteByte('_')
				gap = false
			}
			b.WriteRune(r)
		default:
			gap = true
		}
	}
	if gap {
		b.WriteByte('_')
	}
	return b.String()
}

// unique gives a name that is not taken, without regard to case, and takes it.
func unique(taken map[string]bool, name string) string {
	ext := path.Ext(name)
	stem, try := strings.TrimSuffix(name, ext), name
	for n := 2; taken[strings.ToLower(try)]; n++ {
		tail := "-" + strconv.Itoa(n) + ext
		try = stem[:min(len(stem), maxName-len(tail))] + tail
	}
	taken[strings.ToLower(try)] = true
	return try
}
