// Package resolvers holds tests that put real caching resolvers (unbound, dnsmasq, BIND) before our name server, configured by
// the very lines that docs/dns.md recommends. What is not installed is skipped with one line.
package resolvers
