package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vedette/api"
	"vedette/config"
)

// Whoever sits behind a proxy changes the limits in the configuration.
func TestTheLimitsOfTheAPIComeFromTheConfiguration(t *testing.T) {
	t.Parallel()
	unset := cmpopts.EquateEmpty()
	if d := cmp.Diff(api.Default(), apiConfig(config.Default()), unset, cmpopts.IgnoreUnexported(api.Config{}.Certificate)); d != "" {
		t.Errorf("a configuration without a file changes the settings of the API:\n%s", d)
	}
	c := config.Default()
	c.API.MaxRequestsPerMinute, c.API.MaxLoginAttempts, c.API.BlockTime = 7, 3, 9*time.Second
	if got := apiConfig(c); got.MaxRequestsPerMinute != 7 || got.MaxLoginAttempts != 3 || got.BlockTime != 9*time.Second {
		t.Errorf("the settings of the API are %+v, want the configured limits", got)
	}
}
