/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder/pins.h"
#include "recorder/ring.h"
#include "recorder/say.h"

#define CACHE_LINE 64

int ring_open(struct ring *ring, const char *pins)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_map_info info = {};
	void *consumer, *producer;
	int fd, err = 0;

	fd = pins_map(pins, "ring0", BPF_MAP_TYPE_RINGBUF, &info);
	if (fd < 0)
		return fd;
	consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (consumer == MAP_FAILED) {
		err = refuse(-errno, "cannot map the consumer page of %s/ring0: %m", pins);
		goto close;
	}
	producer = mmap(NULL, page + 2 * (size_t)info.max_entries, PROT_READ, MAP_SHARED, fd,
			(off_t)page);
	if (producer == MAP_FAILED) {
		err = refuse(-errno, "cannot map the data of %s/ring0: %m", pins);
		munmap(consumer, page);
		goto close;
	}
	ring->consumer = consumer;
	ring->producer = producer;
	ring->data = (const unsigned char *)producer + page;
	ring->size = info.max_entries;
	ring->mask = info.max_entries - 1;
	ring->position = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
	ring->limit = ring->position;
close:
	close(fd);
	return err;
}

static bool well_formed(const struct fwdcap_record *record, __u32 len)
{
	return len >= sizeof(*record) && record->caplen <= FWDCAP_MAX_FRAME &&
	       record->caplen <= len - sizeof(*record) && record->cpu < FWDCAP_MAX_CPUS;
}

const struct fwdcap_record *ring_next(struct ring *ring, __u64 *position)
{
	const struct fwdcap_record *record;
	__u32 header, len;

	for (;;) {
		if (ring->position >= ring->limit) {
			ring->limit = ring_produced(ring);
			if (ring->position >= ring->limit)
				return NULL;
		}
		header = __atomic_load_n((const __u32 *)(ring->data + (ring->position & ring->mask)),
					 __ATOMIC_ACQUIRE);
		if (header & BPF_RINGBUF_BUSY_BIT)
			return NULL;
		len = header & ~BPF_RINGBUF_DISCARD_BIT;
		*position = ring->position;
		ring->position += (len + BPF_RINGBUF_HDR_SZ + 7) & ~7ULL;
		__builtin_prefetch(ring->data + (ring->position & ring->mask));
		__builtin_prefetch(ring->data + (ring->position & ring->mask) + CACHE_LINE);
		if (header & BPF_RINGBUF_DISCARD_BIT)
			continue;
		record = ring_record(ring, *position);
		if (well_formed(record, len))
			return record;
	}
}

void ring_release(struct ring *ring, __u64 position)
{
	__atomic_store_n(ring->consumer, position, __ATOMIC_RELEASE);
}
