package limit

import "testing"

func TestRateText(t *testing.T) {
	for text, want := range map[string]Rate{
		"0":                   {},
		"off":                 {},
		"300/s,burst=3000":    {300, 3000},
		"300/s":               {300, 3000},
		"10/m":                {10. / 60, 2},
		"10/m,burst=10":       {10. / 60, 10},
		"1/h":                 {1. / 3600, 1},
		"0.5/s,burst=7":       {0.5, 7},
		"1000000/s,burst=1":   {1e6, 1},
		"1/s,burst=1000000":   {1, 1e6},
		"3.5/h,burst=2":       {3.5 / 3600, 2},
		"60000000/m,burst=10": {1e6, 10},
	} {
		var got, again Rate
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%q: formatted as %q and parsed as %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "300", "-1/s", "0/s", "x/s", "1/d", "1/s,burst=0", "1/s,burst=-1", "1/s,burst=", "1/s,burst=x", "1/s,", "1/s,3",
		"NaN/s", "Inf/s", "1e9/s", "1/s,burst=99999999999", "1/h,burst=1000000", "1e-300/s", " 1/s", "1/s ",
	} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was parsed as %+v, want an error", text, r)
		}
	}
}
