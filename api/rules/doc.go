// Package rules lists the rules and decoders in use over the API.
package rules
