package redisstore

import (
	"strconv"
	"sync"
)

// partitions is how many parts the inboxes are in. Each has a hash tag, so that
// a server can hear of all inboxes of a part over one channel of a cluster.
const partitions = 256

// tags are the hash tags of the partitions: short words whose slots lie evenly
// over all the slots of a cluster, whatever the number of its primaries.
var tags = sync.OnceValue(func() *[partitions]string {
	const slots, each = 16384, 16384 / partitions
	var words [slots]string
	for i := range 40 * slots {
		word := strconv.FormatInt(int64(i), 36)
		if slot := crc16(word) % slots; words[slot] == "" {
			words[slot] = word
		}
	}
	var tags [partitions]string
	for i := range tags { // the middle of each part, or the word that is next to it
		for slot := i*each + each/2; tags[i] == ""; slot++ {
			tags[i] = words[slot]
		}
	}
	return &tags
})

// crc16 is the hash of the Redis cluster specification: CRC-16/XMODEM.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
