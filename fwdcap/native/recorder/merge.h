/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_MERGE_H
#define FWDCAP_MERGE_H

#include <stdbool.h>

#include "recorder/ring.h"

/*
 * Puts the records of a ring that several CPUs share into time order: each is
 * held back until records HOLD_BACK_NS younger have been seen, or that much
 * time has passed without any. A program takes its packet's time microseconds
 * before it writes the record; what comes later than this window is written
 * with its time raised, and counted as late.
 */
#define HOLD_BACK_NS 2000000ULL
#define MERGE_CAPACITY 32768U /* power of two; 2 ms at 16 M records/s */

/* A held record is a reference into the ring: nothing is copied. */
struct held {
	__u64 time_ns;	/* monotonic; never before the same CPU's last */
	__u64 position; /* in the ring */
	__u32 cpu;
};

struct merge {
	struct held *held; /* circular, sorted by time, then CPU, then arrival */
	__u32 first;	   /* counts on, as does: */
	__u32 end;
	__u64 newest_ns;
	__u64 cpu_newest_ns[FWDCAP_MAX_CPUS];
};

int merge_open(struct merge *merge);

static inline __u32 merge_room(const struct merge *merge)
{
	return MERGE_CAPACITY - (merge->end - merge->first);
}

/* Takes a record in; the caller has seen to it that there is room. */
void merge_insert(struct merge *merge, const struct fwdcap_record *record, __u64 position);

static inline struct held *merge_at(const struct merge *merge, __u32 number)
{
	return &merge->held[number & (MERGE_CAPACITY - 1)];
}

/* The oldest record if it is not younger than @until_ns, else NULL. */
static inline const struct held *merge_first(const struct merge *merge, __u64 until_ns)
{
	const struct held *held = merge_at(merge, merge->first);

	return merge->first != merge->end && held->time_ns <= until_ns ? held : NULL;
}

static inline void merge_pop(struct merge *merge)
{
	merge->first++;
}

/* The lowest ring position held, or @position when nothing is. */
__u64 merge_lowest_position(const struct merge *merge, __u64 position);

#endif
