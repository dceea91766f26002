// Package rulesets answers the operations of the API on versions of the ruleset
// and on the candidate that a shadow tries.
package rulesets
