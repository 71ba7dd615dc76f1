/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives the recorder's merge by lines of a test, with rings that are nowhere:
 *	r RINGS				begins
 *	i RING CPU TIME LABEL		takes a record in
 *	e RING TIME BLOCKED		nothing more to read there
 *	h				prints the horizon
 *	o UNTIL				prints the labels of what is older, in order
 *	l RING				prints the lowest label held, or -
 */
#include <stdio.h>

#include "recorder/merge.h"

static struct merge merge;

static void let_out(__u64 until_ns)
{
	struct queue *queue;
	__u64 before_ns;

	while ((queue = merge_choose(&merge, &before_ns)) && queue_head(queue)->time_ns < until_ns) {
		do {
			printf("%llu ", (unsigned long long)queue_head(queue)->position);
			queue_pop(queue);
		} while (queue_head(queue) && queue_head(queue)->time_ns < before_ns &&
			 queue_head(queue)->time_ns < until_ns);
	}
	printf("\n");
}

int main(void)
{
	unsigned long long one, two, three, four;
	struct fwdcap_record record = {};
	char line[128];

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "r %llu", &one) == 1) {
			if (merge_open(&merge, (__u32)one))
				return 1;
		} else if (sscanf(line, "i %llu %llu %llu %llu", &one, &two, &three, &four) == 4) {
			record.cpu = (__u16)two;
			record.monotonic_ns = three;
			merge_insert(&merge, (__u32)one, &record, four);
		} else if (sscanf(line, "e %llu %llu %llu", &one, &two, &three) == 3) {
			merge_note_end(&merge, (__u32)one, two, three);
		} else if (sscanf(line, "o %llu", &one) == 1) {
			let_out(one);
		} else if (sscanf(line, "l %llu", &one) == 1) {
			printf("%lld\n", (long long)queue_lowest_position(&merge.queues[one],
									  UINT64_MAX));
		} else {
			printf("%llu\n", (unsigned long long)merge_horizon(&merge));
		}
	}
	merge_close(&merge);
	return 0;
}
