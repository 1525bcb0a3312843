// Package drills holds the failover drills that come with mmsrouter: one YAML file each, which the program carries
// with it. What their keys mean stands in docs/drills.md.
package drills

import "embed"

// Files holds every *.yaml of this folder.
//
//go:embed *.yaml
var Files embed.FS
