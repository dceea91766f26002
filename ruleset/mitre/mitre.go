// Package mitre names the MITRE ATT&CK techniques and tactics that rules refer to.
//
// Source: MITRE ATT&CK Enterprise v14 (https://attack.mitre.org), © The MITRE
// Corporation, used under its terms of use.
package mitre

// Technique is a technique or sub-technique.
type Technique struct {
	Name    string
	Tactics []string
}

// In reports whether the technique serves the tactic.
func (t Technique) In(tactic string) bool {
	for _, x := range t.Tactics {
		if x == tactic {
			return true
		}
	}
	return false
}

// Find returns a technique by its id, such as T1110 or T1110.001.
func Find(id string) (Technique, bool) {
	t, ok := techniques[id]
	return t, ok
}

// Tactic returns the name of a tactic by its id, such as TA0006.
func Tactic(id string) (string, bool) {
	name, ok := tactics[id]
	return name, ok
}
