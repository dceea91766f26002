// Package logtest runs lines of text through an engine and prints one JSON
// object per line: `{"alert":bool,"output":{the alert document}}`; or, for
// people, a report of its three phases: pre-decoding, decoding, rule.
package logtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"vedette/ruleset/engine"
	"vedette/schemas"
)

// LineMax bounds a line of input, in bytes; a longer one is answered with an error.
const LineMax = 1 << 20

// Options say how input is read.
type Options struct {
	// Fresh forgets all state before each line.
	Fresh bool
	// NDJSON reads an object per line: log, location, queue, timestamp, agent.
	NDJSON bool
	// Flush writes each line out at once.
	Flush bool
	// Text prints reports instead of JSON.
	Text bool
	// Explain adds which decoders and rules were tried and why each failed.
	Explain Explain
	// Prompt is printed before each line is read; for a terminal, with Flush.
	Prompt string
	// Now is the time of events that bring none; nil is time.Now.
	Now func() time.Time
}

// Run prints one object per line of in, in order, and returns the first error
// of reading or writing. A line that cannot be read gives
// `{"alert":false,"output":{},"error":"…"}`. Record keys have separate state.
// The engine should have been made with Config.Logtest.
func Run(eng *engine.Engine, in io.Reader, out io.Writer, opts Options) error {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := bufio.NewReaderSize(in, 64<<10)
	w := bufio.NewWriterSize(out, 64<<10)
	state := eng.NewState()
	var line, answer []byte
	for {
		if err := prompt(w, opts.Prompt); err != nil {
			return err
		}
		var err error
		var long bool
		line, long, err = readLine(r, line[:0])
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("read input: %w", err), w.Flush())
		}
		if err != nil && len(line) == 0 && !long {
			if opts.Prompt != "" {
				_ = w.WriteByte('\n') // an error shows at Flush
			}
			break
		}
		if opts.Prompt != "" && len(line) == 0 && !long {
			continue // nobody asks for the judgement of an empty line there
		}
		if opts.Fresh {
			state.Reset()
		}
		answer = answer[:0]
		if long {
			answer = opts.appendError(answer, fmt.Errorf("line longer than %d bytes", LineMax))
		} else {
			answer = appendAnswer(answer, eng, state, line, &opts)
		}
		if _, err := w.Write(append(answer, '\n')); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		if opts.Flush {
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
		}
		if err != nil {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func prompt(w *bufio.Writer, text string) error {
	if text == "" {
		return nil
	}
	_, err := w.WriteString(text)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// readLine appends one line without its end to buf; long says that it was
// longer than LineMax and is dropped.
func readLine(r *bufio.Reader, buf []byte) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if !long {
			buf = append(buf, part...)
			if long = len(buf) > LineMax+1; long {
				buf = buf[:0]
			}
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(buf, []byte("\n")), long, err
	}
}

func appendAnswer(b []byte, eng *engine.Engine, s *engine.Keyed, line []byte, opts *Options) []byte {
	ev := schemas.Event{AgentID: schemas.ManagerID, Location: "stdin", Queue: '1'}
	ev.Log = bytes.TrimSuffix(line, []byte("\r")) // a line may end as on Windows
	if opts.NDJSON {
		if err := ParseLine(line, &ev); err != nil {
			return opts.appendError(b, err)
		}
	}
	if ev.Time.IsZero() {
		ev.Time = opts.Now()
	}
	var res *engine.Result
	var trace *engine.Trace
	if opts.Explain == ExplainNothing {
		res = eng.Process(s, &ev)
	} else {
		res, trace = eng.Explain(s, &ev)
	}
	if res.Rejected {
		return opts.appendError(b, errors.New("malformed location"))
	}
	if opts.Text {
		b = appendReport(b, &ev, res)
		if trace != nil {
			b = explain(trace, opts.Explain == ExplainAll).appendText(b)
		}
		return b
	}
	b = strconv.AppendBool(append(b, `{"alert":`...), res.Alert)
	b = append(b, `,"output":`...)
	b = res.AppendAlert(b, strconv.FormatInt(ev.Time.Unix(), 10)+".0", nil)
	if trace != nil {
		b = explain(trace, opts.Explain == ExplainAll).appendJSON(append(b, `,"explain":`...))
	}
	return append(b, '}')
}

func (o *Options) appendError(b []byte, err error) []byte {
	if o.Text {
		return appendReportError(b, err)
	}
	b = append(b, `{"alert":false,"output":{},"error":`...)
	return append(schemas.AppendJSONString(b, err.Error()), '}')
}

// inputLine is a line of NDJSON input.
type inputLine struct {
	Log       *string         `json:"log"`
	Location  *string         `json:"location"`
	Queue     string          `json:"queue"`
	Timestamp json.RawMessage `json:"timestamp"`
	Agent     *struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		IP   string `json:"ip"`
		// Address is the registered one, "any" if it is missing.
		Address string          `json:"address"`
		Labels  json.RawMessage `json:"labels"`
	} `json:"agent"`
}

// ParseLine reads a line of NDJSON input into an event; members it does not name
// stay as they are.
func ParseLine(line []byte, ev *schemas.Event) error {
	var in inputLine
	if err := json.Unmarshal(line, &in); err != nil {
		return fmt.Errorf("parse line: %w", err)
	}
	if in.Log == nil {
		return errors.New("line has no log")
	}
	ev.Log = []byte(*in.Log)
	if in.Location != nil {
		ev.Location = *in.Location
	}
	if in.Queue != "" {
		if len(in.Queue) != 1 {
			return errors.New("queue is not exactly one character")
		}
		ev.Queue = in.Queue[0]
	}
	if a := in.Agent; a != nil {
		if a.ID != "" {
			ev.AgentID = a.ID
		}
		ev.AgentName, ev.AgentIP, ev.AgentAddress = a.Name, a.IP, a.Address
		if len(a.Labels) > 0 && a.Labels[0] == '{' {
			ev.AgentLabels = a.Labels
		}
	}
	if len(in.Timestamp) > 0 && string(in.Timestamp) != "null" {
		t, err := parseTime(in.Timestamp)
		if err != nil {
			return err
		}
		ev.Time = t
	}
	return nil
}

// millisFrom is the number from which a time stamp counts milliseconds.
const millisFrom = 1e11

// timeMax bounds time stamps, in seconds: the end of the year 9999.
const timeMax = 253402300799

// parseTime reads RFC 3339, its zone also without colon, or a number of seconds
// or milliseconds since 1970.
func parseTime(raw json.RawMessage) (time.Time, error) {
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return time.Time{}, fmt.Errorf("parse timestamp: %w", err)
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
			if t, err := time.Parse(layout, s); err == nil {
				return t, nil
			}
		}
		return time.Time{}, fmt.Errorf("timestamp %q is not RFC 3339", s)
	}
	text := strings.TrimSpace(string(raw))
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) {
		return time.Time{}, errors.New("timestamp is neither a text nor a number")
	}
	if f > millisFrom {
		f /= 1000
	}
	if f < 0 || f > timeMax {
		return time.Time{}, errors.New("timestamp out of range")
	}
	sec, frac := math.Modf(f)
	// Milliseconds are all that alerts show, and all that a float64 keeps.
	return time.Unix(int64(sec), int64(math.Round(frac*1000))*int64(time.Millisecond)).UTC(), nil
}
