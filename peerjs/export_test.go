package peerjs

import "time"

// HoldFor sets how long messages for absent peers are held. Call it before serving.
func (h *Handler) HoldFor(d time.Duration) { h.holdFor = d }
