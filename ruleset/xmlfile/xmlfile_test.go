package xmlfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStock(t *testing.T) {
	for _, g := range []string{"decoders", "rules"} {
		files, _ := filepath.Glob("/work/shared/wazuh/stock/" + g + "/*.xml")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			els, err := Parse(b)
			if err != nil {
				t.Error(f, err)
			}
			_ = els
		}
	}
}
