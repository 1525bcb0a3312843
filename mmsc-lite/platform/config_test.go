package platform_test

import (
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

func TestConfigSaysWhatIsWrong(t *testing.T) {
	class := func(change func(*platform.Class)) func(*platform.Config) {
		return func(c *platform.Config) {
			k := c.Classes["image-rich"]
			change(&k)
			c.Classes["image-rich"] = k
		}
	}
	for key, change := range map[string]func(*platform.Config){
		"class:":                        func(c *platform.Config) { c.Class = "huge" },
		"classes.image-rich.code:":      class(func(c *platform.Class) { c.Code = 9 }),
		"classes.image-rich.size:":      class(func(c *platform.Class) { c.Size = 100 }),
		"classes.image-rich.max_width:": class(func(c *platform.Class) { c.MaxHeight = 0 }),
		"classes.image-rich.media:":     class(func(c *platform.Class) { c.Media = []string{"text/plain", "image/gif"} }),
		"headroom:":                     func(c *platform.Config) { c.Headroom = -1 },
		"max_messages:":                 func(c *platform.Config) { c.MaxMessages = 0 },
		"subject:":                      func(c *platform.Config) { c.Subject = 0 },
		"workers:":                      func(c *platform.Config) { c.Workers = 0 },
		"timeout:":                      func(c *platform.Config) { c.Timeout = 2 * time.Hour },
		"input.size:":                   func(c *platform.Config) { c.Input.Size = 0 },
		"input.items:":                  func(c *platform.Config) { c.Input.Items = 1000 },
		"input.depth:":                  func(c *platform.Config) { c.Input.Depth = 0 },
		"input.fetches:":                func(c *platform.Config) { c.Input.Fetches = -1 },
		"input.pixels:":                 func(c *platform.Config) { c.Input.Pixels = 0 },
		"input.frames:":                 func(c *platform.Config) { c.Input.Frames = 0 },
		"input.zip_ratio:":              func(c *platform.Config) { c.Input.ZipRatio = 0 },
		"input.smil:":                   func(c *platform.Config) { c.Input.SMIL = 0 },
		"input.smil_depth:":             func(c *platform.Config) { c.Input.SMILDepth = 1 },
		"input.smil_count:":             func(c *platform.Config) { c.Input.SMILCount = 1 },
	} {
		c := platform.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s %v", key, err)
		}
		if _, err := platform.New(platform.Options{Config: c}); err == nil {
			t.Errorf("%s New takes it", key)
		}
	}
	if err := platform.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigFromYAML(t *testing.T) {
	c := platform.DefaultConfig()
	err := yaml.Unmarshal([]byte("class: ours\nclasses:\n  ours: {code: -1, size: 600KiB, max_width: 1024, max_height: 768, media: [text/plain, image/jpeg]}\ntimeout: 20s\ninput: {size: 5MiB}\n"), &c)
	if err != nil || c.Validate() != nil {
		t.Fatal(err, c.Validate())
	}
	if c.Classes["ours"].Size != 600<<10 || c.Classes["text"].Size != 30<<10 || c.Timeout != 20*time.Second || c.Input.Size != 5<<20 || c.Input.Depth != 4 {
		t.Errorf("%+v", c)
	}
}
