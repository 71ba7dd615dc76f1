/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder/pins.h"
#include "recorder/ring.h"
#include "recorder/say.h"

#define CACHE_LINE 64
#define NAME_BYTES 16

static int ring_open(struct ring *ring, const char *pins)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_map_info info = {};
	void *consumer, *producer;
	char name[NAME_BYTES];
	int fd, err = 0;

	snprintf(name, sizeof(name), "ring%u", ring->number);
	fd = pins_map(pins, name, BPF_MAP_TYPE_RINGBUF, &info);
	if (fd < 0)
		return fd;
	consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (consumer == MAP_FAILED) {
		err = refuse(-errno, "cannot map the consumer page of %s/%s: %m", pins, name);
		goto close;
	}
	producer = mmap(NULL, page + 2 * (size_t)info.max_entries, PROT_READ, MAP_SHARED, fd,
			(off_t)page);
	if (producer == MAP_FAILED) {
		err = refuse(-errno, "cannot map the data of %s/%s: %m", pins, name);
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

int rings_open(struct rings *rings, const char *pins, __u32 nr_rings)
{
	int err = 0;

	for (rings->nr = 0; rings->nr < nr_rings && !err; rings->nr++) {
		rings->ring[rings->nr].number = rings->nr;
		rings->ring[rings->nr].nr_rings = nr_rings;
		err = ring_open(&rings->ring[rings->nr], pins);
	}
	return err;
}

/* A CPU that shows up in two rings would break the order of its sequence. */
static bool belongs(const struct ring *ring, __u32 cpu)
{
	return cpu < FWDCAP_MAX_CPUS && (ring->nr_rings == 1 || cpu % ring->nr_rings == ring->number);
}

static bool well_formed(const struct ring *ring, const struct fwdcap_record *record, __u32 len)
{
	return len >= sizeof(*record) && record->caplen <= FWDCAP_MAX_FRAME &&
	       record->caplen <= len - sizeof(*record) && record->monotonic_ns <= INT64_MAX &&
	       belongs(ring, record->cpu);
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
		if (well_formed(ring, record, len))
			return record;
	}
}

void rings_release(struct rings *rings, const __u64 *positions)
{
	for (__u32 i = 0; i < rings->nr; i++)
		__atomic_store_n(rings->ring[i].consumer, positions[i], __ATOMIC_RELEASE);
}
