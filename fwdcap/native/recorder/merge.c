/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "recorder/merge.h"

int merge_open(struct merge *merge, __u32 nr_rings)
{
	__u32 capacity = MERGE_MOST;

	while (capacity > MERGE_LEAST && capacity * nr_rings > 2 * MERGE_MOST)
		capacity /= 2;
	for (__u32 i = 0; i < nr_rings; i++) {
		merge->queues[i].capacity = capacity;
		merge->queues[i].held = calloc(capacity, sizeof(struct held));
		if (!merge->queues[i].held)
			return -ENOMEM;
	}
	merge->nr_queues = nr_rings;
	return 0;
}

void merge_close(struct merge *merge)
{
	for (__u32 i = 0; i < FWDCAP_MAX_RINGS; i++)
		free(merge->queues[i].held);
}

static bool after(const struct held *one, const struct held *other)
{
	if (one->time_ns != other->time_ns)
		return one->time_ns > other->time_ns;
	return one->cpu > other->cpu;
}

void merge_insert(struct merge *merge, __u32 ring, const struct fwdcap_record *record,
		  __u64 position)
{
	struct held new = { record->monotonic_ns, position, record->cpu };
	struct queue *queue = &merge->queues[ring];
	__u32 slot = queue->end++;

	/*
	 * Replay after a crash counts on this: whatever the times say, the
	 * records of one CPU leave in the order of their sequence.
	 */
	if (new.time_ns < merge->cpu_newest_ns[new.cpu])
		new.time_ns = merge->cpu_newest_ns[new.cpu];
	merge->cpu_newest_ns[new.cpu] = new.time_ns;
	if (new.time_ns > queue->newest_ns)
		queue->newest_ns = new.time_ns;

	/* Nearly sorted: the place is at the end or a few steps before it. */
	for (; slot != queue->first && after(queue_at(queue, slot - 1), &new); slot--)
		*queue_at(queue, slot) = *queue_at(queue, slot - 1);
	*queue_at(queue, slot) = new;
}

void merge_note_end(struct merge *merge, __u32 ring, __u64 now_ns, bool blocked)
{
	__u64 empty_ns = blocked ? now_ns - BLOCKED_NS : now_ns;

	if (empty_ns > merge->queues[ring].empty_ns)
		merge->queues[ring].empty_ns = empty_ns;
}

static __u64 queue_horizon(const struct queue *queue)
{
	__u64 known_ns = queue->newest_ns > queue->empty_ns ? queue->newest_ns : queue->empty_ns;
	__u64 horizon_ns = known_ns > HOLD_BACK_NS ? known_ns - HOLD_BACK_NS : 0;
	const struct held *crowded = queue_at(queue, queue->first + MERGE_BATCH);

	/* More within the hold-back than can be held: the oldest must go. */
	if (!queue_has_room(queue) && crowded->time_ns > horizon_ns)
		horizon_ns = crowded->time_ns;
	return horizon_ns;
}

__u64 merge_horizon(const struct merge *merge)
{
	__u64 least_ns = UINT64_MAX, horizon_ns;

	for (__u32 i = 0; i < merge->nr_queues; i++) {
		horizon_ns = queue_horizon(&merge->queues[i]);
		if (horizon_ns < least_ns)
			least_ns = horizon_ns;
	}
	return least_ns;
}

struct queue *merge_choose(struct merge *merge, __u64 *before_ns)
{
	const struct held *oldest = NULL, *head;
	struct queue *chosen = NULL;

	*before_ns = UINT64_MAX;
	for (__u32 i = 0; i < merge->nr_queues; i++) {
		head = queue_head(&merge->queues[i]);
		if (!head)
			continue;
		if (oldest && !after(oldest, head)) {
			if (head->time_ns < *before_ns)
				*before_ns = head->time_ns;
			continue;
		}
		if (oldest)
			*before_ns = oldest->time_ns;
		oldest = head;
		chosen = &merge->queues[i];
	}
	return chosen;
}

__u64 queue_lowest_position(const struct queue *queue, __u64 position)
{
	for (__u32 i = queue->first; i != queue->end; i++)
		if (queue_at(queue, i)->position < position)
			position = queue_at(queue, i)->position;
	return position;
}
