// Package netns holds the stories of routers as machines of their own: three of them, two MMSCs, a caching resolver and clients, each
// in a network namespace with its own addresses, wired by bridges, with the real program, real keepalived and real unbound. A
// machine is killed, frozen, cut off or drained while messages flow, and the ledger says what became of each.
//
// The stories need Linux, root and iproute2; without, and where namespaces can't be made, they are skipped with one line. Names
// carry the process id; what an earlier run left behind is removed.
package netns
