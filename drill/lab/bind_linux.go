package lab

import (
	"os/exec"
	"syscall"
)

// bind lets a child die with us, and keeps the terminal's Ctrl-C from it: the drill ends its children itself.
func bind(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
