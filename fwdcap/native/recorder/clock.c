/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "recorder/clock.h"

#define OFFSET_SAMPLES 32

static __u64 clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (__u64)now.tv_sec * NS_PER_SECOND + (__u64)now.tv_nsec;
}

__u64 monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

__u64 clock_offset_ns(void)
{
	__u64 before, utc, after, offset = 0, narrowest = UINT64_MAX;

	/* The sample that was bracketed most narrowly was disturbed least. */
	for (int i = 0; i < OFFSET_SAMPLES; i++) {
		before = clock_ns(CLOCK_MONOTONIC);
		utc = clock_ns(CLOCK_REALTIME);
		after = clock_ns(CLOCK_MONOTONIC);
		if (after - before >= narrowest)
			continue;
		narrowest = after - before;
		offset = utc - (before + narrowest / 2);
	}
	return offset;
}

void sleep_ns(__u64 duration_ns)
{
	struct timespec duration = {
		.tv_sec = (time_t)(duration_ns / NS_PER_SECOND),
		.tv_nsec = (long)(duration_ns % NS_PER_SECOND),
	};

	nanosleep(&duration, NULL);
}
