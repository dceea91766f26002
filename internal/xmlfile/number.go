package xmlfile

import "strconv"

// Number reads a decimal number of at most n digits.
func Number(s string, n int) (int, bool) {
	if s == "" || len(s) > n {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	v, err := strconv.Atoi(s)
	return v, err == nil
}

// LeadingNumber reads the first digits of a decimal number, at most n. More digits are
// allowed, other characters are not.
func LeadingNumber(s string, n int) (int, bool) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	if i < len(s) {
		return 0, false
	}
	return Number(s[:min(i, n)], n)
}
