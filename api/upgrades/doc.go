// Package upgrades answers the operations of the API that upgrade agents
// (upgrade.go, packages.go) and that follow upgrades as tasks (tasks.go).
package upgrades
