package check

import (
	"context"
	"net/http"
	"strings"
)

// closed looks for pages that must not be public.
func (c *checker) closed(ctx context.Context) {
	c.do(ctx, "private pages", func(ctx context.Context) Result {
		for path, marks := range map[string]string{"metrics": "# HELP", "debug/pprof/": "goroutine"} {
			resp, err := c.get(ctx, path, nil, nil)
			if err != nil {
				return noAnswer(err)
			}
			shows := resp.StatusCode == http.StatusOK && strings.Contains(head(resp.Body), marks)
			resp.Body.Close()
			if shows {
				return Result{State: Open, Detail: "Anyone can read /" + path + ".", Advice: "Let the proxy in front of the server pass only the server's own paths, and keep --metrics-listen on a private address."}
			}
		}
		return ok("Metrics and profiles are not public.")
	})
}
