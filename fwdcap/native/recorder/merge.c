/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "recorder/merge.h"

int merge_open(struct merge *merge)
{
	merge->held = calloc(MERGE_CAPACITY, sizeof(*merge->held));
	return merge->held ? 0 : -ENOMEM;
}

static bool after(const struct held *one, const struct held *other)
{
	if (one->time_ns != other->time_ns)
		return one->time_ns > other->time_ns;
	return one->cpu > other->cpu;
}

void merge_insert(struct merge *merge, const struct fwdcap_record *record, __u64 position)
{
	struct held new = { record->monotonic_ns, position, record->cpu };
	__u32 slot = merge->end++;

	/*
	 * Replay after a crash counts on this: whatever the times say, the
	 * records of one CPU leave in the order of their sequence.
	 */
	if (new.time_ns < merge->cpu_newest_ns[new.cpu])
		new.time_ns = merge->cpu_newest_ns[new.cpu];
	merge->cpu_newest_ns[new.cpu] = new.time_ns;
	if (new.time_ns > merge->newest_ns)
		merge->newest_ns = new.time_ns;

	/* Nearly sorted: the place is at the end or a few steps before it. */
	for (; slot != merge->first && after(merge_at(merge, slot - 1), &new); slot--)
		*merge_at(merge, slot) = *merge_at(merge, slot - 1);
	*merge_at(merge, slot) = new;
}

__u64 merge_lowest_position(const struct merge *merge, __u64 position)
{
	for (__u32 i = merge->first; i != merge->end; i++)
		if (merge_at(merge, i)->position < position)
			position = merge_at(merge, i)->position;
	return position;
}
