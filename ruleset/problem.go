package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"vedette/internal/xmlfile"
)

// Codes of problems that people know from 4.14's log (spec/ruleset-language.md §13.2).
const (
	codeNone             = 0 // 4.14's number is not known
	codeChildAsParent    = 2101
	codeAttributeDefault = 7600
	codeDecoderDefault   = 7601
	codeJSONOption       = 7602
	codeJSONEmpty        = 7603
	codeOverwriteParent  = 7605
	codeIfLevelNoMatch   = 7608
	codeIfLevelMalformed = 7609
	codeIfGroupNoMatch   = 7610
	codeCategoryNoRoot   = 7611
	codeDuplicateID      = 7612
	codeOverwriteUnknown = 7613
	codeMatchedNotNumber = 7615
	codeListNotLoaded    = 7616
	codeIfSidUnknown     = 7617
	codeIfSidMalformed   = 7618
	codeIfSidNone        = 7619
	codeMatchedUnknown   = 7620
)

// Problem is a fault of a ruleset. A fatal problem stops the load; another skips
// or changes the element at its place.
type Problem struct {
	File      string
	Line, Col int
	// RuleID is 0 when no rule is concerned.
	RuleID int
	// Code is the number that 4.14's log gives, 0 where it is not known.
	Code int
	Msg  string
	// Hint says how to mend it; may be empty.
	Hint  string
	Fatal bool
	// Severity is a word that String puts in front of the cause, if it is set.
	Severity string
}

// String gives `file:line:col: msg`.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Severity != "" {
		b.WriteString(p.Severity + ": ")
	}
	if p.RuleID > 0 {
		fmt.Fprintf(&b, "rule %d: ", p.RuleID)
	}
	b.WriteString(p.Msg)
	if p.Hint != "" {
		b.WriteString("\n\thint: ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

func (p Problem) Error() string { return p.String() }

// fatal is the error by which the reading of a file ends.
func fatal(f *File, e *xmlfile.Element, format string, args ...any) *Problem {
	p := &Problem{File: f.Path, Msg: fmt.Sprintf(format, args...), Fatal: true}
	if e != nil {
		p.Line, p.Col = e.Line, e.Col
	}
	return p
}

func xmlProblem(f *File, err error) *Problem {
	p := &Problem{File: f.Path, Msg: err.Error(), Fatal: true}
	var xe *xmlfile.Error
	if errors.As(err, &xe) {
		p.Line, p.Col, p.Msg = xe.Line, xe.Col, xe.Msg
	}
	return p
}
