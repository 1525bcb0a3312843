// Command fakemmsc is the fake MMSC as a process, for drills that kill it.
package main

import (
	"os"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
)

func main() { os.Exit(fakemmsc.Main(os.Args[1:], os.Stdout, os.Stderr)) }
