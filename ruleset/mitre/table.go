// Package mitre names the MITRE ATT&CK techniques and tactics that rules refer to.
package mitre

var tactics = map[string]string{}
var techniques = map[string]Technique{}
