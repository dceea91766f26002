// Package manager answers the operations of the API on the server itself.
package manager
