// Package app builds the roles that a configuration names, starts them, and
// ends them in order. The command line and the tests use the same calls.
package app
