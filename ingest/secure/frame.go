package secure

import (
	"encoding/binary"
	"errors"
	"io"
)

// MaxUnit is the largest unit in bytes, length excluded.
const MaxUnit = 65536

// FrameHeader is the number of bytes before a unit on TCP.
const FrameHeader = 4

// ErrFrameTooLarge says that a length above the maximum was announced.
var ErrFrameTooLarge = errors.New("frame larger than the maximum")

// NextFrame looks at the start of buf. It returns the unit and the number of
// bytes it took with its length; 0 bytes mean that buf does not hold it whole. A
// length above maxBytes gives ErrFrameTooLarge as soon as it can be read. The
// unit aliases buf.
func NextFrame(buf []byte, maxBytes int) (unit []byte, n int, err error) {
	if len(buf) < FrameHeader {
		return nil, 0, nil
	}
	size := binary.LittleEndian.Uint32(buf)
	if uint64(size) > uint64(maxBytes) {
		return nil, 0, ErrFrameTooLarge
	}
	n = FrameHeader + int(size)
	if len(buf) < n {
		return nil, 0, nil
	}
	return buf[FrameHeader:n], n, nil
}

// FrameNeed returns how many bytes buf must have for its first frame to be
// whole, at least FrameHeader.
func FrameNeed(buf []byte) int {
	if len(buf) < FrameHeader {
		return FrameHeader
	}
	return FrameHeader + int(binary.LittleEndian.Uint32(buf))
}

// AppendFrame appends a unit with its length.
func AppendFrame(dst, unit []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(unit)))
	return append(dst, unit...)
}

// ReadFrames cuts a stream into units, calling fn for each.
//
// A length above maxBytes gives ErrFrameTooLarge before anything is allocated,
// and the buffer grows only as bytes arrive, so a length that is announced but
// never sent costs nothing. The slice passed to fn is valid only until fn
// returns. ReadFrames returns nil at a clean end of stream and
// io.ErrUnexpectedEOF inside a frame.
func ReadFrames(r io.Reader, maxBytes int, fn func(unit []byte) error) error {
	buf := make([]byte, 0, 4096)
	for {
		at := 0
		for {
			unit, n, err := NextFrame(buf[at:], maxBytes)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if err := fn(unit); err != nil {
				return err
			}
			at += n
		}
		buf = buf[:copy(buf, buf[at:])]
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)] // doubles
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			continue // a reader may give bytes and an error; the error comes again
		}
		switch {
		case err == io.EOF && len(buf) == 0:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}
