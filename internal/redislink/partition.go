package redislink

import (
	"strconv"
	"sync"
)

// Partitions is the number of partitions, a power of two. The hash of a name selects one.
// Each has its own hash tag, so that a server can listen to a whole partition over one
// channel of a cluster.
const Partitions = 256

// Tag returns the hash tag of a partition, without the braces.
func Tag(partition uint8) string { return tags()[partition] }

// Slot returns the cluster slot of a tag.
func Slot(tag string) int { return int(crc16(tag) % slots) }

const slots = 16384

// tags are the hash tags of the partitions: short words whose slots are spread evenly
// over the slots of a cluster, so that any number of primaries gets equal shares.
var tags = sync.OnceValue(func() *[Partitions]string {
	const each = slots / Partitions
	var words [slots]string
	for i := range 40 * slots {
		word := strconv.FormatInt(int64(i), 36)
		if slot := crc16(word) % slots; words[slot] == "" {
			words[slot] = word
		}
	}
	var tags [Partitions]string
	for i := range tags { // use the word at the middle of each range of slots, or the next one
		for slot := i*each + each/2; tags[i] == ""; slot++ {
			tags[i] = words[slot]
		}
	}
	return &tags
})

// crc16 is the hash of the Redis cluster specification, CRC-16/XMODEM.
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
