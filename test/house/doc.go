// Package house holds no code: its tests hold the rules of the house, for every package at once. Imports only go
// down, names are of one form, what README says works, and nothing is hidden in an init function.
package house
