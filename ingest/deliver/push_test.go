package deliver

import (
	"bytes"
	"testing"
)

func TestNoPieceBeginsLikeAControlMessage(t *testing.T) {
	t.Parallel()
	for at := pieceBytes - 4; at < pieceBytes+4; at++ {
		data := append(bytes.Repeat([]byte("a"), at), "#!-#!-##!-#"...)
		data = append(data, bytes.Repeat([]byte("#!-"), 700)...)
		var whole []byte
		for p := range pieces(data) {
			if bytes.HasPrefix(p, []byte("#!-")) || len(p) > pieceBytes || len(p) == 0 {
				t.Errorf("%d: piece %.10q of %d bytes", at, p, len(p))
			}
			whole = append(whole, p...)
		}
		if !bytes.Equal(whole, data) {
			t.Errorf("%d: the pieces are not the file", at)
		}
	}
}
