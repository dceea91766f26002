// Package rulesets leads from files to engines that run: it loads and compiles the
// configured rulesets, publishes their versions, runs the current one, and keeps a
// candidate for the shadow (docs/design.md D7).
package rulesets
