// Package mms holds the words of the Multimedia Messaging Service: the PDUs of
// OMA-MMS-ENC 1.0 to 1.3 as they travel on MM1, their header fields, statuses
// and addresses. It reads the head of a PDU without allocation ([Head.Peek]),
// decodes and encodes whole PDUs without loss ([Decode], [PDU.Append]) and
// builds the answers that a server gives.
//
// The package does no I/O of its own, holds no clock and writes no log. Nothing
// it is given can make it panic or take more memory than a small multiple of
// the input; what it refuses, it refuses with an [Error] that says where and
// why. It has no state.
package mms
