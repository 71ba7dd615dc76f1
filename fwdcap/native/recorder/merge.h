/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_MERGE_H
#define FWDCAP_MERGE_H

#include <stdbool.h>

#include "recorder/ring.h"

/*
 * Puts the records of all rings, each shared by several CPUs, into one time
 * order. A record is held back until nothing older can come: a program takes
 * its packet's time microseconds before it writes the record, so in a ring
 * whose newest record is of time t, or that was found empty at t, nothing from
 * before t - HOLD_BACK_NS is to be expected. The ring for which that is longest
 * ago decides; one that is empty holds up nobody. What comes later all the
 * same is written with its time raised, and counted as late.
 *
 * A CPU that stops in the middle of writing a record (a virtual one may, for
 * milliseconds) blocks its ring: the others wait for it, BLOCKED_NS at most.
 */
#define HOLD_BACK_NS 2000000ULL
#define BLOCKED_NS 50000000ULL

#define MERGE_BATCH 256U
#define MERGE_MOST 32768U /* held of one ring; power of two; 2 ms at 16 M records/s */
#define MERGE_LEAST 4096U /* the same with many rings, so that memory stays small */

/* A held record is a reference into its ring: nothing is copied. */
struct held {
	__u64 time_ns;	/* monotonic; never before the same CPU's last */
	__u64 position; /* in the ring */
	__u32 cpu;
};

/* What is held of one ring. */
struct queue {
	struct held *held; /* circular, sorted by time, then CPU, then arrival */
	__u32 capacity;
	__u32 first; /* counts on, as does: */
	__u32 end;
	__u64 newest_ns;
	__u64 empty_ns; /* the ring was seen empty then */
};

struct merge {
	struct queue queues[FWDCAP_MAX_RINGS];
	__u32 nr_queues;
	__u64 cpu_newest_ns[FWDCAP_MAX_CPUS];
};

int merge_open(struct merge *merge, __u32 nr_rings);
void merge_close(struct merge *merge);

/* Takes a record in; the caller has seen to it that there is room. */
void merge_insert(struct merge *merge, __u32 ring, const struct fwdcap_record *record,
		  __u64 position);

/* Notes that at @now_ns there was no more to read from the ring: it was empty or @blocked. */
void merge_note_end(struct merge *merge, __u32 ring, __u64 now_ns, bool blocked);

/* Up to which time nothing more is to be expected from any ring. */
__u64 merge_horizon(const struct merge *merge);

static inline bool queue_has_room(const struct queue *queue)
{
	return queue->capacity - (queue->end - queue->first) >= MERGE_BATCH;
}

static inline struct held *queue_at(const struct queue *queue, __u32 number)
{
	return &queue->held[number & (queue->capacity - 1)];
}

/* The oldest record held of a ring, NULL when none is. */
static inline const struct held *queue_head(const struct queue *queue)
{
	return queue->first != queue->end ? queue_at(queue, queue->first) : NULL;
}

static inline void queue_pop(struct queue *queue)
{
	queue->first++;
}

/*
 * The ring whose turn it is, NULL when nothing is held: its records go before
 * all others' as long as they are older than @before_ns, the first one anyway.
 */
struct queue *merge_choose(struct merge *merge, __u64 *before_ns);

/* The lowest ring position held, or @position when nothing is. */
__u64 queue_lowest_position(const struct queue *queue, __u64 position);

#endif
