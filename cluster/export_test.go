package cluster

// Pass puts a change into the gossip as if a state had made it.
func Pass(c *Cluster, state string, d Delta) { c.pass(state, d) }
