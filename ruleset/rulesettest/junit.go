package rulesettest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the results as JUnit XML, a suite per file in the order of
// the results.
func WriteJUnit(w io.Writer, results []Result) error {
	var out junitSuites
	at := map[string]int{}
	for i := range results {
		r := &results[i]
		n, ok := at[r.Test.File]
		if !ok {
			n = len(out.Suites)
			at[r.Test.File] = n
			out.Suites = append(out.Suites, junitSuite{Name: valid(r.Test.File)})
		}
		s := &out.Suites[n]
		c := junitCase{Class: valid(r.Test.File), Name: valid(r.Test.Name), File: valid(r.Test.File), Line: r.Test.Line}
		s.Tests++
		out.Tests++
		if len(r.Failures) > 0 {
			s.Failures++
			out.Failures++
			c.Failure = &junitFailure{Message: valid(r.Failures[0].Diffs[0]), Text: valid(r.detail())}
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// valid replaces characters that XML cannot hold.
func valid(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' && r != '\t' && r != '\n' || r == 0xFFFE || r == 0xFFFF {
			return '?'
		}
		return r
	}, s)
}
