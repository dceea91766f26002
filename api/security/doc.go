// Package security answers the operations of logging in and about the calling
// user, and bounds failed logins.
package security
