// Package push is the stories of push with automatic retrieval: a message, its notification by a carrier, the handset that
// fetches on its own, stores and acknowledges, and the report to the sender; within an operator and between two. The
// operators' routers are whole appliances, everything goes over real sockets.
package push
