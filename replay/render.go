package replay

import (
	_ "embed"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// shownMax and agentsShownMax bound the rows of a table for people; the JSON form
// holds all.
const (
	shownMax       = 40
	agentsShownMax = 15
)

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s judged by %s%s\n", r.Source, r.Ruleset.Name, version(r.Ruleset))
	if r.Against != nil {
		fmt.Fprintf(b, "against %s%s\n", r.Against.Name, version(*r.Against))
	}
	if r.Interrupted {
		b.WriteString("INTERRUPTED: this is what was judged so far\n")
	}
	fmt.Fprintf(b, "\n%s events from %s to %s (%s)", number(r.Events), when(r.First), when(r.Last), span(r.Last.Sub(r.First)))
	if r.Warm > 0 {
		fmt.Fprintf(b, ", beside %s outside of it for their effect on windows", number(r.Warm))
	}
	fmt.Fprintf(b, "\n%s alerts, %s a day", number(r.Total.Alerts), rate(float64(r.Total.Alerts)/r.Days))
	if r.Against != nil {
		fmt.Fprintf(b, "; before %s: %s added, %s removed, %s changed", number(r.Total.Was), number(r.Total.Added), number(r.Total.Removed), number(r.Total.Changed))
	}
	b.WriteString("\n")
	if r.Repeated > 0 {
		fmt.Fprintf(b, "%s left out: written before by their source\n", number(r.Repeated))
	}
	if text := r.UnjudgedText(); text != "" {
		b.WriteString(text + "\n")
	}
	for reason, n := range sorted(r.Refused) {
		fmt.Fprintf(b, "%s left out: %s\n", number(n), reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "note: %s\n", n)
	}
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	rows, title := r.Rules, "Rules by alerts"
	if r.Against != nil {
		rows, title = r.Differing(), "Rules that differ"
	}
	if len(rows) > 0 {
		fmt.Fprintf(tw, "\n%s\nRULE\tLEVEL\tALERTS\tA DAY\t%s\tDESCRIPTION\n", title, differing(r, "BEFORE\tADDED\tREMOVED\tCHANGED"))
		for _, x := range rows[:min(len(rows), shownMax)] {
			fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t%s\t%s\n", x.ID, x.Level, number(x.Alerts), rate(x.PerDay),
				differing(r, fmt.Sprintf("%s\t%s\t%s\t%s", number(x.Was), plus("+", x.Added), plus("-", x.Removed), plus("~", x.Changed))), x.Description)
		}
		if n := len(rows) - shownMax; n > 0 {
			fmt.Fprintf(tw, "… and %d more\n", n)
		}
	}
	for i, d := range r.Differences[:min(len(r.Differences), shownMax)] {
		if i == 0 {
			fmt.Fprint(tw, "\nWhat became of what\nEVENTS\tBEFORE\tNOW\n")
		}
		was, now := d.names()
		fmt.Fprintf(tw, "%s\t%s\t%s\n", number(d.Count), was, now)
	}
	if n := len(r.Differences) - shownMax; n > 0 {
		fmt.Fprintf(tw, "… and %d more\n", n)
	}
	if r.Against != nil {
		writeDiffering(tw, "Agents that differ", "AGENT", agentsShownMax, r.Agents, func(a *AgentCounts) (string, *Counts) { return a.ID, &a.Counts })
		if days := days(r.Hours); len(days) <= 2 {
			writeDiffering(tw, "Hours that differ", "HOUR", shownMax, r.Hours, func(h *HourCounts) (string, *Counts) { return h.Hour.Format("2006-01-02 15:04Z"), &h.Counts })
		} else {
			writeDiffering(tw, "Days that differ", "DAY", shownMax, days, func(h *HourCounts) (string, *Counts) { return h.Hour.Format(time.DateOnly), &h.Counts })
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		if i == 0 {
			b.WriteString("\nExamples\n")
		}
		if i == shownMax {
			fmt.Fprintf(b, "… and %d more, which --format json shows\n", len(r.Samples)-shownMax)
			break
		}
		fmt.Fprintf(b, "%s rule %d: %s → %s  (%s, agent %s, %s, %s)\n  %s\n", s.Kind, s.Rule, s.Was, s.Now, position(s.Partition, s.Offset), s.Agent, s.Location, when(s.Time), s.Log)
		if s.Reason != "" {
			fmt.Fprintf(b, "  because: %s\n", s.Reason)
		}
	}
	st := &r.Stats
	fmt.Fprintf(b, "\n%s events in %s (%s/s, %.2f µs of CPU each), memory %d MiB\n", number(st.Events), time.Duration(st.WallSeconds*float64(time.Second)).Round(time.Millisecond),
		number(int64(st.EventsPerWallSecond)), st.CPUSeconds*1e6/math.Max(1, float64(st.Events)), st.MaxRSSBytes>>20)
	_, err := io.WriteString(w, b.String())
	return err
}

// UnjudgedText says how many records the live workers have never judged; empty if
// that is not asked.
func (r *Report) UnjudgedText() string {
	switch {
	case r.Unjudged == nil:
		return ""
	case *r.Unjudged == 0:
		return "0 records never judged by the workers"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s records NEVER JUDGED by the workers and not compared, in ", number(*r.Unjudged))
	if n := len(r.UnjudgedPartitions); n > 1 {
		fmt.Fprintf(&b, "%d partitions: ", n)
	} else {
		b.WriteString("partition ")
	}
	shown := 0
	for _, p := range slices.Sorted(maps.Keys(r.UnjudgedPartitions)) {
		if shown++; shown > agentsShownMax {
			fmt.Fprintf(&b, ", … and %d more", len(r.UnjudgedPartitions)-agentsShownMax)
			break
		}
		if shown > 1 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d (%s)", p, number(r.UnjudgedPartitions[p]))
	}
	return b.String()
}

// Differing are the rules whose alerts differ.
func (r *Report) Differing() []RuleCounts {
	var out []RuleCounts
	for _, x := range r.Rules {
		if x.differs() {
			out = append(out, x)
		}
	}
	return out
}

// days puts the hours of a day together.
func days(hours []HourCounts) []HourCounts {
	var out []HourCounts
	for _, h := range hours {
		h.Hour = h.Hour.Truncate(24 * time.Hour)
		if n := len(out); n > 0 && out[n-1].Hour.Equal(h.Hour) {
			out[n-1].plus(&h.Counts)
		} else {
			out = append(out, h)
		}
	}
	return out
}

func writeDiffering[T any](w io.Writer, title, column string, shown int, rows []T, of func(*T) (string, *Counts)) {
	n := 0
	for i := range rows {
		name, c := of(&rows[i])
		if !c.differs() {
			continue
		}
		if n++; n == 1 {
			fmt.Fprintf(w, "\n%s\n%s\tALERTS\tBEFORE\tADDED\tREMOVED\tCHANGED\n", title, column)
		}
		if n <= shown {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, number(c.Alerts), number(c.Was), plus("+", c.Added), plus("-", c.Removed), plus("~", c.Changed))
		}
	}
	if n > shown {
		fmt.Fprintf(w, "… and %d more\n", n-shown)
	}
}

// String names a verdict.
func (v Verdict) String() string {
	if v.Rule == 0 {
		return "no alert"
	}
	return fmt.Sprintf("%d (level %d)", v.Rule, v.Level)
}

// names puts both verdicts so that one sees how they differ.
func (d *Difference) names() (was, now string) {
	was, now = d.Was.String(), d.Now.String()
	if was == now {
		was, now = was+" "+d.Was.Groups, now+" "+d.Now.Groups
	}
	return was, now
}

func version(n Named) string {
	if n.Version == "" {
		return ""
	}
	return " (" + n.Version + ")"
}

// differing is text where something is compared.
func differing(r *Report, text string) string {
	if r.Against == nil {
		return ""
	}
	return text
}

func plus(sign string, n int64) string {
	if n == 0 {
		return "·"
	}
	return sign + number(n)
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// span writes a duration in days, or in its own units below one day.
func span(d time.Duration) string {
	if d < 24*time.Hour {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// number writes thousands apart.
func number(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func rate(f float64) string {
	if f >= 10 || f == 0 {
		return number(int64(math.Round(f)))
	}
	return fmt.Sprintf("%.2g", f)
}

// sorted goes through a map by its keys.
func sorted(m map[string]int64) func(func(string, int64) bool) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return func(yield func(string, int64) bool) {
		for _, k := range keys {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"number": number, "when": when, "span": span, "rate": rate, "version": version,
	"at":  func(s Sample) string { return position(s.Partition, s.Offset) },
	"was": func(d Difference) string { was, _ := d.names(); return was },
	"now": func(d Difference) string { _, now := d.names(); return now },
}).Parse(page))

// WriteHTML writes one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	p := struct {
		*Report
		Rows        []RuleCounts
		Differences []Difference
		Agents      []AgentCounts
		Samples     []Sample
		Plot        plot
		Height      int
		Span        time.Duration
		More        int
	}{r, r.Rules, upTo(r.Differences), nil, upTo(r.Samples), plotOf(r.Hours), barHeight, r.Last.Sub(r.First), 0}
	if r.Against != nil {
		p.Rows = r.Differing()
	}
	for _, a := range r.Agents {
		if r.Against == nil || a.differs() {
			p.Agents = append(p.Agents, a)
		}
	}
	p.More = len(p.Rows) - len(upTo(p.Rows)) + len(p.Agents) - len(upTo(p.Agents)) + len(r.Differences) - len(p.Differences) + len(r.Samples) - len(p.Samples)
	p.Rows, p.Agents = upTo(p.Rows), upTo(p.Agents)
	return pageTemplate.Execute(w, p)
}

// pageMax bounds the rows of each table of the page.
const pageMax = 300

func upTo[T any](x []T) []T { return x[:min(len(x), pageMax)] }

const (
	barHeight = 160
	// barsMax bounds the bars of the plot; hours are put together beyond it.
	barsMax = 400
)

// bar is one column of the plot, in its units.
type bar struct {
	X, Width               float64
	Alerts, Added, Removed float64 // heights
	Changed                float64
	Title                  string
}

// plot is the alerts over time and the scale to read it by.
type plot struct {
	Bars     []bar
	From, To time.Time // of the first column and behind the last one
	Hours    int       // of a column
	Most     int64     // alerts and removed ones in the tallest column
}

// plotOf lays the hours out over a width of 1,000.
func plotOf(hours []HourCounts) plot {
	if len(hours) == 0 {
		return plot{}
	}
	first := hours[0].Hour
	span := int(hours[len(hours)-1].Hour.Sub(first)/time.Hour) + 1
	each := (span + barsMax - 1) / barsMax
	n := (span + each - 1) / each
	sums := make([]Counts, n)
	var most int64 = 1
	for i := range hours {
		s := &sums[int(hours[i].Hour.Sub(first)/time.Hour)/each]
		s.plus(&hours[i].Counts)
		most = max(most, s.Alerts+s.Removed)
	}
	out := make([]bar, n)
	width := 1000 / float64(n)
	for i := range sums {
		h := func(v int64) float64 { return float64(v) / float64(most) * barHeight }
		out[i] = bar{
			X: float64(i) * width, Width: math.Max(0.5, width*0.9), Alerts: h(sums[i].Alerts), Added: h(sums[i].Added), Removed: h(sums[i].Removed), Changed: h(sums[i].Changed),
			Title: fmt.Sprintf("%s: %s alerts, +%s -%s ~%s", when(first.Add(time.Duration(i*each)*time.Hour)), number(sums[i].Alerts), number(sums[i].Added), number(sums[i].Removed), number(sums[i].Changed)),
		}
	}
	return plot{Bars: out, From: first, To: first.Add(time.Duration(n*each) * time.Hour), Hours: each, Most: most}
}

// WriteJUnit writes each condition as a test case that failed if it is met.
func (r *Report) WriteJUnit(w io.Writer, conditions []Condition) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Time     string     `xml:"time,attr"`
		Cases    []testcase `xml:"testcase"`
	}{Name: "replay of " + r.Source, Tests: len(conditions), Time: fmt.Sprintf("%.3f", r.Stats.WallSeconds)}
	for i := range conditions {
		c := testcase{Name: conditions[i].Text, Class: "replay"}
		if figure, met := conditions[i].Met(r); met {
			text := &strings.Builder{}
			for _, x := range r.Differing() {
				fmt.Fprintf(text, "rule %d (level %d): +%d -%d ~%d\n", x.ID, x.Level, x.Added, x.Removed, x.Changed)
			}
			c.Failure = &failure{fmt.Sprintf("it is %.6g", figure), text.String()}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
