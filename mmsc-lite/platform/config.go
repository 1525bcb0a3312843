package platform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
)

// Class is a content class of OMA-MMS-CONF: what a handset of that class can
// show for sure.
type Class struct {
	Code      int         `yaml:"code"`       // number of X-Mms-Content-Class, 0 to 7; -1: not announced
	Size      router.Size `yaml:"size"`       // the whole message
	MaxWidth  int         `yaml:"max_width"`  // of a picture, pixels; 0: any
	MaxHeight int         `yaml:"max_height"` //
	Media     []string    `yaml:"media"`      // types that go as they are, such as image/jpeg; "*/*": all, nothing is adapted but to save space
}

// Config is what the platform may do.
type Config struct {
	Class       string           `yaml:"class"`        // of recipients of whom nothing is known
	Classes     map[string]Class `yaml:"classes"`      // by name: what a handset of a class can show
	Headroom    router.Size      `yaml:"headroom"`     // kept free below the size, for what servers add on the way
	MaxMessages int              `yaml:"max_messages"` // messages that one content may become
	Subject     int              `yaml:"subject"`      // characters of a subject
	Timeout     time.Duration    `yaml:"timeout"`      // one content, its fetches included
	Workers     int              `yaml:"workers"`      // pictures that are converted at the same time
	Input       InputConfig      `yaml:"input"`
	Profiles    ProfileConfig    `yaml:"profiles"`
}

// InputConfig bounds what a provider gives.
type InputConfig struct {
	Size      router.Size `yaml:"size"`       // all of it, unpacked
	Items     int         `yaml:"items"`      // pieces in all, containers included
	Depth     int         `yaml:"depth"`      // containers within containers
	Fetches   int         `yaml:"fetches"`    // URLs in all
	Pixels    int         `yaml:"pixels"`     // of one picture
	Frames    int         `yaml:"frames"`     // of an animation that is kept
	ZipRatio  int         `yaml:"zip_ratio"`  // unpacked size over packed size
	SMIL      router.Size `yaml:"smil"`       // a given presentation
	SMILDepth int         `yaml:"smil_depth"` // elements within elements
	SMILCount int         `yaml:"smil_count"` // elements
}

// DefaultConfig gives the defaults. Sizes of the first five classes are those of
// OMA-MMS-CONF 1.2; operators differ on the others.
func DefaultConfig() Config {
	text := []string{"text/plain"}
	still := append(slices.Clone(text), "image/jpeg", "image/gif", "image/vnd.wap.wbmp", "audio/amr", "text/x-vcard", "text/x-vcalendar")
	video := append(slices.Clone(still), "video/3gpp")
	all := []string{"*/*"}
	return Config{
		Class: "video-rich", Headroom: 3 << 10, MaxMessages: 3, Subject: 40, Timeout: time.Minute, Workers: 2,
		Classes: map[string]Class{
			"text":          {Code: 0, Size: 30 << 10, Media: text},
			"image-basic":   {Code: 1, Size: 30 << 10, MaxWidth: 160, MaxHeight: 120, Media: still},
			"image-rich":    {Code: 2, Size: 100 << 10, MaxWidth: 640, MaxHeight: 480, Media: still},
			"video-basic":   {Code: 3, Size: 100 << 10, MaxWidth: 640, MaxHeight: 480, Media: video},
			"video-rich":    {Code: 4, Size: 300 << 10, MaxWidth: 640, MaxHeight: 480, Media: video},
			"megapixel":     {Code: 5, Size: 300 << 10, MaxWidth: 1600, MaxHeight: 1200, Media: video},
			"content-basic": {Code: 6, Size: 100 << 10, Media: all},
			"content-rich":  {Code: 7, Size: 300 << 10, Media: all},
		},
		Input: InputConfig{Size: 10 << 20, Items: 100, Depth: 4, Fetches: 20, Pixels: 16 << 20, Frames: 300, ZipRatio: 200,
			SMIL: 64 << 10, SMILDepth: 16, SMILCount: 1000},
		Profiles: ProfileConfig{Enabled: true, Timeout: 3 * time.Second, Keep: 24 * time.Hour},
	}
}

// Validate says what can't be.
func (c Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, ok := c.Classes[c.Class]; !ok {
		fail("class: %q: want one of classes: %s", c.Class, strings.Join(slices.Sorted(maps.Keys(c.Classes)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		if err := c.Classes[name].validate(c.Headroom); err != nil {
			fail("classes.%s.%w", name, err)
		}
	}
	for _, b := range []struct {
		key          string
		v, low, high int64
	}{
		{"headroom", int64(c.Headroom), 0, 64 << 10}, {"max_messages", int64(c.MaxMessages), 1, 20}, {"subject", int64(c.Subject), 1, 1000},
		{"workers", int64(c.Workers), 1, 64}, {"input.size", int64(c.Input.Size), 1, 1 << 30}, {"input.items", int64(c.Input.Items), 1, 200},
		{"input.depth", int64(c.Input.Depth), 1, 16}, {"input.fetches", int64(c.Input.Fetches), 0, 200},
		{"input.pixels", int64(c.Input.Pixels), 1, 1 << 28}, {"input.frames", int64(c.Input.Frames), 1, 10000},
		{"input.zip_ratio", int64(c.Input.ZipRatio), 1, 2000}, {"input.smil", int64(c.Input.SMIL), 1, 1 << 20},
		{"input.smil_depth", int64(c.Input.SMILDepth), 4, 64}, {"input.smil_count", int64(c.Input.SMILCount), 10, 10000},
	} {
		if b.v < b.low || b.v > b.high {
			fail("%s: %d: want %d to %d", b.key, b.v, b.low, b.high)
		}
	}
	if c.Timeout <= 0 || c.Timeout > time.Hour {
		fail("timeout: %s: want more than 0 and at most 1h", c.Timeout)
	}
	if c.Profiles.Timeout <= 0 || c.Profiles.Timeout > c.Timeout {
		fail("profiles.timeout: %s: want more than 0 and at most timeout (%s)", c.Profiles.Timeout, c.Timeout)
	}
	if c.Profiles.Keep < time.Minute {
		fail("profiles.keep: %s: want at least 1m", c.Profiles.Keep)
	}
	return errors.Join(errs...)
}

func (c Class) validate(headroom router.Size) error {
	switch {
	case c.Code < -1 || c.Code > 7:
		return fmt.Errorf("code: %d: want 0 to 7, or -1 for a class of one's own", c.Code)
	case c.Size < 2*headroom || c.Size < 1<<10 || c.Size > 1<<30:
		return fmt.Errorf("size: %s: want at least 1KiB and twice the headroom, at most 1GiB", c.Size)
	case c.MaxWidth < 0 || c.MaxHeight < 0 || (c.MaxWidth == 0) != (c.MaxHeight == 0):
		return fmt.Errorf("max_width: %d by %d: want two positive numbers, or 0 for both", c.MaxWidth, c.MaxHeight)
	}
	pictures, jpeg := false, false
	for _, m := range c.Media {
		major, minor, ok := strings.Cut(m, "/")
		if !ok || major == "" || minor == "" || m != strings.ToLower(m) {
			return fmt.Errorf("media: %q: want a type in small letters such as image/jpeg, or */*", m)
		}
		pictures, jpeg = pictures || major == "image", jpeg || m == "image/jpeg"
	}
	if pictures && !jpeg {
		return fmt.Errorf("media: pictures are made to fit as image/jpeg, which is not listed")
	}
	if !c.takes("text/plain") {
		return fmt.Errorf("media: text/plain is missing")
	}
	return nil
}

// takes says whether a type goes as it is.
func (c Class) takes(media string) bool {
	return slices.Contains(c.Media, media) || c.free()
}

// free says whether nothing has to be adapted.
func (c Class) free() bool { return slices.Contains(c.Media, "*/*") }
