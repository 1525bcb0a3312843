// Package wsp reads and writes the binary values of WAP-230-WSP that MMS is made
// of: integers, texts, value lengths, media types and their parameters,
// charsets, part headers and multipart bodies.
//
// Readers take a slice and answer how many octets they used; they never look
// past the slice, never panic and never allocate in proportion to a number that
// stands in the input. The package has no state.
package wsp
