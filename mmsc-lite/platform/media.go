package platform

import (
	"bytes"
	"mime"
	"net/http"
	"path"
	"strings"
)

// kind is what the platform does with a part.
type kind uint8

const (
	kindOther kind = iota // carried if the class takes its type
	kindText
	kindImage
	kindAudio
	kindVideo
	kindSMIL
	kindDRM // never touched
	kindHTML
	kindMultipart
	kindZip
	kindList // text/uri-list
	kindWAP  // a multipart of WSP
	kindMMS  // a whole PDU
)

const (
	smilType = "application/smil"
	jpegType = "image/jpeg"
	gifType  = "image/gif"
	pngType  = "image/png"
	wbmpType = "image/vnd.wap.wbmp"
	textType = "text/plain"
)

// aliases are names in the field for types that have another.
var aliases = map[string]string{
	"image/jpg": jpegType, "image/pjpeg": jpegType, "image/x-png": pngType, "image/x-ms-bmp": "image/bmp", "image/wbmp": wbmpType,
	"image/x-wbmp": wbmpType, "audio/x-amr": "audio/amr", "audio/amr-nb": "audio/amr", "audio/mp3": "audio/mpeg", "audio/x-wav": "audio/wav",
	"audio/wave": "audio/wav", "video/3gp": "video/3gpp", "audio/mid": "audio/midi", "audio/x-midi": "audio/midi",
	"text/vcard": "text/x-vcard", "text/directory": "text/x-vcard", "text/calendar": "text/x-vcalendar",
	"application/smil+xml": smilType, "application/x-smil": smilType, "application/x-zip-compressed": "application/zip", "application/x-zip": "application/zip",
}

// byExtension holds what content does not tell, or tells too broadly.
var byExtension = map[string]string{
	".txt": textType, ".smil": smilType, ".smi": smilType, ".vcf": "text/x-vcard", ".vcs": "text/x-vcalendar", ".ics": "text/x-vcalendar",
	".html": "text/html", ".htm": "text/html", ".xhtml": "application/xhtml+xml", ".jpg": jpegType, ".jpeg": jpegType, ".png": pngType, ".gif": gifType,
	".bmp": "image/bmp", ".webp": "image/webp", ".tif": "image/tiff", ".tiff": "image/tiff", ".wbmp": wbmpType, ".amr": "audio/amr",
	".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".wav": "audio/wav", ".ogg": "audio/ogg", ".mid": "audio/midi",
	".3gp": "video/3gpp", ".3g2": "video/3gpp2", ".mp4": "video/mp4", ".zip": "application/zip", ".dm": "application/vnd.oma.drm.message",
	".dcf": "application/vnd.oma.drm.content", ".mms": "application/vnd.wap.mms-message", ".uri": "text/uri-list",
}

// extensions give a name to types whose name tells what they are to handsets.
var extensions = map[string]string{
	textType: ".txt", smilType: ".smil", "text/x-vcard": ".vcf", "text/x-vcalendar": ".vcs", jpegType: ".jpg", pngType: ".png", gifType: ".gif",
	"image/bmp": ".bmp", "image/webp": ".webp", "image/tiff": ".tif", wbmpType: ".wbmp", "audio/amr": ".amr", "audio/mpeg": ".mp3",
	"audio/mp4": ".m4a", "audio/aac": ".aac", "audio/wav": ".wav", "audio/ogg": ".ogg", "audio/midi": ".mid", "video/3gpp": ".3gp",
	"video/3gpp2": ".3g2", "video/mp4": ".mp4", "application/pdf": ".pdf", "application/vnd.oma.drm.message": ".dm", "application/vnd.oma.drm.content": ".dcf",
}

// split reads a media type and its parameters leniently; the type is in small
// letters and by its usual name, "" if it is none.
func splitType(s string) (string, map[string]string) {
	media, params, err := mime.ParseMediaType(s)
	if err != nil {
		media, _, _ = strings.Cut(s, ";")
		media, params = strings.ToLower(strings.TrimSpace(media)), nil
	}
	if !strings.Contains(media, "/") || strings.ContainsFunc(media, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", params
	}
	if usual, ok := aliases[media]; ok {
		media = usual
	}
	return media, params
}

// identify finds what an item is. A container's, a presentation's or a protected
// part's declared type counts. A picture's octets count before what is declared,
// since servers get it wrong and a handset that believes them shows nothing. What
// is declared counts before the name.
func identify(it *Item) (kind, string) {
	declared, _ := splitType(it.Type)
	if k := kindOf(declared); k == kindDRM || k == kindMultipart || k == kindList || k == kindWAP || k == kindMMS || k == kindSMIL {
		return k, declared
	}
	sniffed := sniff(it.Data)
	if strings.HasPrefix(sniffed, "image/") {
		return kindImage, sniffed
	}
	if k := kindOf(sniffed); declared == textType && (k == kindAudio || k == kindVideo || k == kindZip) {
		return k, sniffed // the type that servers give to what they do not know
	}
	generic := declared == "" || declared == "application/octet-stream" || declared == "binary/octet-stream" || declared == "application/x-download"
	if generic {
		if declared = byExtension[strings.ToLower(path.Ext(it.Name))]; declared == "" || kindOf(declared) == kindImage && declared != wbmpType {
			declared = sniffed
		}
	}
	if strings.HasPrefix(declared, "text/") && sniffed == smilType || strings.HasSuffix(declared, "/xml") && sniffed == smilType {
		declared = smilType
	}
	return kindOf(declared), declared
}

// sniff tells a type from octets.
func sniff(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("#!AMR\n")):
		return "audio/amr"
	case bytes.HasPrefix(data, []byte("#!AMR-WB\n")):
		return "audio/amr-wb"
	case bytes.HasPrefix(data, []byte("II*\x00")), bytes.HasPrefix(data, []byte("MM\x00*")):
		return "image/tiff"
	case len(data) > 12 && string(data[4:10]) == "ftyp3g":
		return "video/3gpp"
	}
	head := bytes.ToLower(bytes.TrimLeft(data[:min(len(data), 512)], "\xef\xbb\xbf \t\r\n"))
	if bytes.HasPrefix(head, []byte("<smil")) || bytes.HasPrefix(head, []byte("<?xml")) && bytes.Contains(head, []byte("<smil")) {
		return smilType
	}
	media, _ := splitType(http.DetectContentType(data))
	return media
}

func kindOf(media string) kind {
	major, minor, _ := strings.Cut(media, "/")
	switch {
	case strings.HasPrefix(media, "application/vnd.oma.drm."):
		return kindDRM
	case media == smilType:
		return kindSMIL
	case media == "application/zip":
		return kindZip
	case strings.HasPrefix(media, "application/vnd.wap.multipart."):
		return kindWAP
	case media == "application/vnd.wap.mms-message":
		return kindMMS
	case media == "text/uri-list":
		return kindList
	case media == "text/html", media == "application/xhtml+xml", media == "application/vnd.wap.xhtml+xml", media == "text/vnd.wap.wml":
		return kindHTML
	case media == "text/x-vcard", media == "text/x-vcalendar":
		return kindOther
	}
	switch major {
	case "multipart":
		return kindMultipart
	case "text":
		return kindText
	case "image":
		if minor == "svg+xml" {
			return kindOther // a program more than a picture; carried where the class takes all
		}
		return kindImage
	case "audio":
		return kindAudio
	case "video":
		return kindVideo
	}
	return kindOther
}
