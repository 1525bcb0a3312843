// Package socket accepts TCP connections whose descriptors the Go runtime does not know, and waits for them.
//
// Why not net's: every accept4, setsockopt, getsockname and close of package net goes through the scheduler, and the first of them
// behind an idle moment wakes the runtime's monitor thread, which then looks around every 20 µs. With a connection per message that
// was a sixth of all the time of the processor. These calls never block on such sockets, so here they are made raw. A connection whose peer is
// never waited for is entered nowhere. For those that are waited for there is one epoll instance of ours, itself a descriptor in the
// runtime's poller: it holds no thread, and goroutines park as ever.
//
// A Conn is a net.Conn and a syscall.Conn, and keeps what net promises of deadlines, and of Close while other goroutines are at work.
// Where the system is not Linux, connections are net's.
package socket
