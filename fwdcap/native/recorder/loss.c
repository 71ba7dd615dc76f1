/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "recorder/clock.h"
#include "recorder/loss.h"

static __u64 live(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

int loss_remember_stale(struct loss *loss)
{
	loss->before = calloc(loss->nr_cpus, sizeof(*loss->before));
	if (!loss->before)
		return -ENOMEM;
	memcpy(loss->before, loss->states, loss->nr_cpus * sizeof(*loss->before));
	return 0;
}

void loss_sequences(const struct loss *loss, __u64 *next_sequence)
{
	bool stale = loss->before &&
		     !memcmp(loss->before, loss->states, loss->nr_cpus * sizeof(*loss->before));

	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++)
		next_sequence[cpu] = stale ? 0 : live(&loss->states[cpu].next_sequence);
}

static __u64 reported(const struct loss *loss, enum fwdcap_loss reason)
{
	__u64 sum = 0;

	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++)
		sum += live(&loss->states[cpu].lost_records[reason]);
	return sum;
}

static void note_times(const struct loss *loss, struct fwdcap_checkpoint *checkpoint)
{
	__u64 first = UINT64_MAX, last = 0, ns;

	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++) {
		ns = live(&loss->states[cpu].first_loss_ns);
		if (ns && ns < first)
			first = ns;
		ns = live(&loss->states[cpu].last_loss_ns);
		if (ns > last)
			last = ns;
	}
	/* A gap nobody reported began and ended around now. */
	if (first == UINT64_MAX)
		first = monotonic_ns();
	if (last == 0)
		last = monotonic_ns();
	if (!checkpoint->first_loss_ns)
		checkpoint->first_loss_ns = first + checkpoint->clock_offset_ns;
	checkpoint->last_loss_ns = last + checkpoint->clock_offset_ns;
}

void loss_attribute(const struct loss *loss, struct fwdcap_checkpoint *checkpoint, __u64 missing,
		    enum fwdcap_loss rest)
{
	static const enum fwdcap_loss reasons[] = { FWDCAP_LOSS_RING_FULL, FWDCAP_LOSS_COPY };
	__u64 *lost = checkpoint->lost_records, sum, share;

	if (!missing)
		return;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		sum = reported(loss, reasons[i]);
		share = sum > lost[reasons[i]] ? sum - lost[reasons[i]] : 0;
		if (share > missing)
			share = missing;
		lost[reasons[i]] += share;
		missing -= share;
	}
	lost[rest] += missing;
	note_times(loss, checkpoint);
}

void loss_conclude(const struct loss *loss, struct fwdcap_checkpoint *checkpoint,
		   const __u64 *end_sequence, enum fwdcap_loss rest)
{
	__u64 missing = 0;

	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++) {
		if (end_sequence[cpu] <= checkpoint->next_sequence[cpu])
			continue;
		missing += end_sequence[cpu] - checkpoint->next_sequence[cpu];
		checkpoint->next_sequence[cpu] = end_sequence[cpu];
	}
	loss_attribute(loss, checkpoint, missing, rest);
}
