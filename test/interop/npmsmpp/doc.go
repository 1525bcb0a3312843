// Package npmsmpp holds the client of SMPP against a server that others wrote: the npm package smpp, run by node.
package npmsmpp
