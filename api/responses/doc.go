// Package responses runs active responses over the API and lists them.
package responses
