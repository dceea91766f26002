// Package ruleset turns the text of a ruleset (decoders, rules, CDB lists) into
// an immutable program.Program. It reads files or nothing at all, and knows
// neither Kafka nor clocks; package engine runs the result of Compile.
//
// Source of the language: spec/ruleset-language.md, compatible with Wazuh 4.14.
package ruleset
