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

/* When the losses of one ring began and ended, CLOCK_MONOTONIC. */
struct span {
	__u64 first;
	__u64 last;
};

/*
 * The program notes the first loss of a capture, which for a stream that
 * follows a roll may be another stream's: then the first is after @since_ns.
 */
static struct span reported_span(const struct loss *loss,
				 const struct fwdcap_checkpoint *checkpoint, __u32 ring,
				 __u64 since_ns)
{
	__u64 begun = checkpoint->begun_sequence ? checkpoint->begun_ns : 1;
	struct span span = { UINT64_MAX, 0 };
	__u64 first, last;

	for (__u32 cpu = ring; cpu < loss->nr_cpus; cpu += checkpoint->nr_rings) {
		first = live(&loss->states[cpu].first_loss_ns);
		last = live(&loss->states[cpu].last_loss_ns);
		if (last < begun)
			continue;
		if (first < begun)
			first = since_ns;
		if (first < span.first)
			span.first = first;
		if (last > span.last)
			span.last = last;
	}
	/* A gap nobody reported began and ended around now. */
	if (!span.last)
		span.first = span.last = monotonic_ns();
	return span;
}

static void widen(__u64 *first_ns, __u64 *last_ns, struct span utc)
{
	if (!*first_ns || utc.first < *first_ns)
		*first_ns = utc.first;
	if (utc.last > *last_ns)
		*last_ns = utc.last;
}

static void note_ring(const struct loss *loss, struct fwdcap_checkpoint *checkpoint, __u32 ring,
		      const struct missing *missing)
{
	__u64 offset_ns = checkpoint->clock_offset_ns;
	struct span span;

	span = reported_span(loss, checkpoint, ring, missing->since_ns - offset_ns);
	span.first += offset_ns;
	span.last += offset_ns;
	checkpoint->ring_lost_records[ring] += missing->records[ring];
	widen(&checkpoint->ring_first_loss_ns[ring], &checkpoint->ring_last_loss_ns[ring], span);
	widen(&checkpoint->first_loss_ns, &checkpoint->last_loss_ns, span);
}

void loss_attribute(const struct loss *loss, struct fwdcap_checkpoint *checkpoint,
		    struct missing *missing, enum fwdcap_loss rest)
{
	static const enum fwdcap_loss reasons[] = { FWDCAP_LOSS_RING_FULL, FWDCAP_LOSS_COPY };
	__u64 *lost = checkpoint->lost_records, all = 0, sum, known, share;

	for (__u32 ring = 0; ring < checkpoint->nr_rings; ring++) {
		if (!missing->records[ring])
			continue;
		note_ring(loss, checkpoint, ring, missing);
		all += missing->records[ring];
	}
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]) && all; i++) {
		sum = reported(loss, reasons[i]);
		known = checkpoint->lost_before[reasons[i]] + lost[reasons[i]];
		share = sum > known ? sum - known : 0;
		if (share > all)
			share = all;
		lost[reasons[i]] += share;
		all -= share;
	}
	lost[rest] += all;
	*missing = (struct missing){};
}

void loss_conclude(const struct loss *loss, struct fwdcap_checkpoint *checkpoint,
		   const __u64 *end_sequence, enum fwdcap_loss rest)
{
	struct missing missing = { .since_ns = checkpoint->last_ns };

	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++) {
		if (end_sequence[cpu] <= checkpoint->next_sequence[cpu])
			continue;
		missing.records[cpu % checkpoint->nr_rings] +=
			end_sequence[cpu] - checkpoint->next_sequence[cpu];
		checkpoint->next_sequence[cpu] = end_sequence[cpu];
	}
	if (!missing.since_ns)
		missing.since_ns = checkpoint->begun_ns + checkpoint->clock_offset_ns;
	loss_attribute(loss, checkpoint, &missing, rest);
}

void loss_extend(struct fwdcap_checkpoint *checkpoint, __u32 ring, __u64 first_ns)
{
	struct span span = { first_ns, monotonic_ns() + checkpoint->clock_offset_ns };

	widen(&checkpoint->ring_first_loss_ns[ring], &checkpoint->ring_last_loss_ns[ring], span);
	widen(&checkpoint->first_loss_ns, &checkpoint->last_loss_ns, span);
}

static void curtail(__u64 *first_ns, __u64 *last_ns, __u64 end_ns)
{
	if (*first_ns > end_ns)
		*first_ns = end_ns;
	if (*last_ns > end_ns)
		*last_ns = end_ns;
}

void loss_curtail(struct fwdcap_checkpoint *checkpoint)
{
	__u64 end_ns = checkpoint->last_ns;

	curtail(&checkpoint->first_loss_ns, &checkpoint->last_loss_ns, end_ns);
	for (__u32 ring = 0; ring < checkpoint->nr_rings; ring++)
		curtail(&checkpoint->ring_first_loss_ns[ring],
			&checkpoint->ring_last_loss_ns[ring], end_ns);
}
