// Package services is the stories of two-way services: a whole router with its embedded MMSC, handsets that are notified by SMS
// or UDP and fetch on their own, and providers that are real HTTP servers (package provider).
package services
