package pcre

import "strings"

// class reads a bracketed class.
func (p *parser) class(f *flags) (*node, error) {
	if _, end := p.posixName(); end > 0 {
		return nil, p.fail("POSIX class outside a class")
	}
	p.pos++ // [
	s := &set{}
	negate := p.skip("^")
	first, quoted := true, false
	// prev is a character that a following `-` can make a range of.
	prev, havePrev := rune(0), false
	afterSet := false // the item before is a class, which can begin no range
	for {
		if !p.more() {
			return nil, p.fail("missing ] of a class")
		}
		if quoted {
			if p.skip(`\E`) {
				quoted = false
				continue
			}
		} else {
			if p.skip(`\E`) {
				continue
			}
			if p.skip(`\Q`) {
				quoted = true
				continue
			}
			if p.peek() == ']' && !first {
				p.pos++
				break
			}
			if f.xx && isBlank(p.peek()) {
				p.pos++
				continue
			}
			{
				ok, err := p.posix(s)
				if err != nil {
					return nil, err
				}
				if ok {
					first, havePrev, afterSet = false, false, true
					continue
				}
			}
			if p.peek() == '-' && afterSet && p.pos+1 < len(p.src) && p.src[p.pos+1] != ']' {
				return nil, p.fail("invalid range in class")
			}
			afterSet = false
			if p.peek() == '-' && havePrev && p.pos+1 < len(p.src) && p.src[p.pos+1] != ']' {
				p.pos++
				if _, end := p.posixName(); end > 0 {
					return nil, p.fail("invalid range in class")
				}
				hi, sub, err := p.classChar(f)
				if err != nil {
					return nil, err
				}
				if sub != nil {
					return nil, p.fail("invalid range in class")
				}
				if hi < prev {
					return nil, p.fail("range out of order in class")
				}
				s.addRange(prev, hi)
				havePrev = false
				continue
			}
		}
		first = false
		var c rune
		var sub *set
		var err error
		if quoted {
			c = p.next()
		} else if c, sub, err = p.classChar(f); err != nil {
			return nil, err
		}
		if sub != nil {
			s.union(sub)
			havePrev, afterSet = false, true
			continue
		}
		s.add(c)
		prev, havePrev = c, true
	}
	if f.i {
		s.fold(p.utf)
	}
	if negate {
		s.invert()
	}
	return &node{kind: kSet, set: s}, nil
}

func (p *parser) classChar(f *flags) (rune, *set, error) {
	if p.peek() == '\\' {
		return p.escapedChar(f, true)
	}
	return p.next(), nil, nil
}

// posixName finds `[:name:]` and its like at pos; end is how long it is, 0 for none.
func (p *parser) posixName() (name string, end int) {
	if !p.has("[:") && !p.has("[.") && !p.has("[=") {
		return "", 0
	}
	term := p.src[p.pos+1]
	for i := p.pos + 2; i+1 < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == '\\' && (p.src[i+1] == ']' || p.src[i+1] == '\\'):
			i++
		case c == term && p.src[i+1] == ']':
			return p.src[p.pos+2 : i], i + 2 - p.pos
		case c == ']', c == '[' && p.src[i+1] == term:
			return "", 0
		}
	}
	return "", 0
}

func (p *parser) posix(s *set) (bool, error) {
	name, end := p.posixName()
	if end == 0 {
		return false, nil
	}
	if p.src[p.pos+1] != ':' {
		return false, p.fail("collating elements are not supported")
	}
	name, negate := strings.CutPrefix(name, "^")
	in := posixClasses[name]
	if in == nil {
		return false, p.fail("unknown POSIX class %q", name)
	}
	s.addBytes(in, negate)
	p.pos += end
	return true, nil
}

// union adds the members of t.
func (s *set) union(t *set) {
	for i := range s.bits {
		s.bits[i] |= t.bits[i]
	}
	s.ranges = append(s.ranges, t.ranges...)
	s.tables = append(s.tables, t.tables...)
}
