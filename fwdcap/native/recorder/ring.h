/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_RING_H
#define FWDCAP_RING_H

#include <linux/bpf.h>

#include "abi.h"

/*
 * A BPF ring buffer, walked by ourselves: libbpf's consumer gives a record's
 * space back as soon as its callback returns, ours only when it is on disk.
 * Positions count bytes since the ring was made and never wrap.
 */
struct ring {
	__u32 number;		       /* among nr_rings */
	__u32 nr_rings;
	unsigned long *consumer;       /* written by ring_release() only */
	const unsigned long *producer;
	const unsigned char *data;     /* mapped twice in a row: no record is cut */
	__u64 size;
	__u64 mask;
	__u64 position;		       /* of the next record to read */
	__u64 limit;		       /* producer position last seen */
};

_Static_assert(sizeof(unsigned long) == sizeof(__u64), "ring positions are 64 bits wide");

struct rings {
	struct ring ring[FWDCAP_MAX_RINGS];
	__u32 nr;
};

/* Maps the pinned rings ring0 …; reading starts at the kernel's consumer positions. */
int rings_open(struct rings *rings, const char *pins, __u32 nr_rings);

static inline __u64 ring_produced(const struct ring *ring)
{
	return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
}

/* The record at a position that ring_next() reported and nobody released. */
static inline const struct fwdcap_record *ring_record(const struct ring *ring, __u64 position)
{
	return (const void *)(ring->data + (position & ring->mask) + BPF_RINGBUF_HDR_SZ);
}

/*
 * The next well-formed record and its position, NULL when there is none yet.
 * Malformed ones are stepped over and show as a gap in the sequence.
 */
const struct fwdcap_record *ring_next(struct ring *ring, __u64 *position);

/* Gives the space before each ring's position back to the kernel. */
void rings_release(struct rings *rings, const __u64 *positions);

#endif
