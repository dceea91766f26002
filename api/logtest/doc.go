// Package logtest answers log tests of the API and keeps their sessions.
package logtest
