// Package security answers the operations of the API of logging in and bounds
// failed logins.
package security
