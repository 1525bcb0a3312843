// Package test holds the stories: whole appliances on port 0 with fake MMSCs and handsets, told from
// outside. Each story ends with the balance: messages in = messages out.
//
// Its parts: fakemmsc (an MMSC that breaks as told), handsets (MM1 clients and their ledger), pdu (the few PDUs
// needed), appliance (a router inside a test), program (the router as a process), phone (phones in software), bench (side by side with other programs), interop (real
// gateways), netns (routers as machines of their own, with keepalived), house (the rules of the house).
package test
