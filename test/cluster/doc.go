// Package cluster holds the stories of several routers that work as one: whole appliances over loopback that
// live, drain, die and disagree.
package cluster
