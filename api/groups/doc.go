// Package groups answers the operations of the API on groups: the groups
// themselves, their agents (groups.go) and their files (files.go).
package groups
