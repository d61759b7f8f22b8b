package peerjs

import "time"

// HoldFor has messages for peers who are not there held for so long. Call it before
// serving.
func (h *Handler) HoldFor(d time.Duration) { h.holdFor = d }
