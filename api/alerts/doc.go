// Package alerts searches alerts over the API.
package alerts
