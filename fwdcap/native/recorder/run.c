/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "recorder/clock.h"
#include "recorder/recorder.h"

/* Committed is seen within 250 ms, with time to spare for the disk. */
#define COMMIT_NS 150000000ULL
#define HEARTBEAT_NS 900000000ULL

#define PAUSE_MIN_NS 50000ULL
#define PAUSE_MAX_NS 2000000ULL
#define BUSY_BYTES (1U << 20)  /* a pass that finds this much is not followed by a pause */
#define CALM_BYTES (64U << 10) /* one that finds less, by a longer pause than before */

#define SETTLE_NS 2000000ULL	/* programs that were running are done */
#define DRAIN_NS 1000000000ULL	/* how long a record may stay unfinished */

static __u64 smaller(__u64 one, __u64 other)
{
	return one < other ? one : other;
}

void recorder_limit(struct recorder *recorder, __u64 until_ns, enum fwdcap_end_reason reason)
{
	if (until_ns >= recorder->until_ns)
		return;
	recorder->until_ns = until_ns ? until_ns : 1;
	recorder->until_reason = reason;
}

/* Takes a batch in. Returns whether there may be more. */
static bool take_in(struct recorder *recorder, struct ring *ring, __u64 now_ns)
{
	const struct fwdcap_record *record = NULL;
	__u64 start = ring->position, position;

	for (__u32 taken = 0; taken < MERGE_BATCH; taken++) {
		record = ring_next(ring, &position);
		if (!record)
			break;
		/* Committed before a crash or a roll and met again. */
		if (record->sequence < recorder->taken_sequence[record->cpu])
			continue;
		recorder->taken_sequence[record->cpu] = record->sequence + 1;
		merge_insert(&recorder->merge, ring->number, record, position);
	}
	if (!record)
		merge_note_end(&recorder->merge, ring->number, now_ns,
			       ring->position < ring->limit);
	recorder->taken_bytes += ring->position - start;
	return record;
}

/* A batch from every ring that there is room for. Returns whether there may be more. */
static bool take_in_all(struct recorder *recorder)
{
	__u64 now_ns = monotonic_ns(); /* before the rings are looked at */
	bool more = false;

	for (__u32 i = 0; i < recorder->rings.nr; i++)
		if (queue_has_room(&recorder->merge.queues[i]))
			more |= take_in(recorder, &recorder->rings.ring[i], now_ns);
	return more;
}

int recorder_commit(struct recorder *recorder)
{
	struct fwdcap_checkpoint *now = &recorder->stream.now;
	struct stream *stream = &recorder->stream;
	struct block *block;

	if (!stream->block) {
		block = writer_take(&recorder->writer, true);
		if (!block)
			return -EIO;
		stream_take(stream, block, NULL);
	}
	for (__u32 i = 0; i < recorder->rings.nr; i++)
		now->ring_position[i] = queue_lowest_position(&recorder->merge.queues[i],
							      recorder->rings.ring[i].position);
	loss_attribute(&recorder->loss, now, &stream->missing, FWDCAP_LOSS_UNKNOWN);
	recorder->committed_ns = monotonic_ns();
	stream_let_go(stream);
	writer_hand_over(&recorder->writer);
	return 0;
}

static int make_fit(struct recorder *recorder, const struct fwdcap_record *record)
{
	struct stream *stream = &recorder->stream;
	struct block *block;
	int err;

	if (stream->block) {
		if (stream_fits(stream, record))
			return 0;
		err = recorder_commit(recorder);
		if (err)
			return err;
	}
	block = writer_take(&recorder->writer, true);
	if (!block)
		return -EIO;
	stream_take(stream, block, record);
	return 0;
}

/* Writes what is held of one ring and older than both times. */
static int let_out_of(struct recorder *recorder, struct queue *queue, __u64 until_ns,
		      __u64 before_ns)
{
	const struct ring *ring = &recorder->rings.ring[queue - recorder->merge.queues];
	struct stream *stream = &recorder->stream;
	const struct fwdcap_record *record;
	const struct held *held = queue_head(queue);
	int err;

	do {
		record = ring_record(ring, held->position);
		recorder->end = stream_capped(stream, stream_record_bytes(stream, record));
		if (recorder->end)
			return 0;
		err = make_fit(recorder, record);
		if (err)
			return err;
		stream_append(stream, record, held->time_ns);
		queue_pop(queue);
		__builtin_prefetch(ring_record(ring, queue_at(queue, queue->first)->position));
		held = queue_head(queue);
	} while (held && held->time_ns < before_ns && held->time_ns < until_ns);
	return 0;
}

/* Writes what was held back long enough and is older than @until_ns. */
static int let_out(struct recorder *recorder, __u64 until_ns)
{
	struct queue *queue;
	__u64 before_ns;
	int err = 0;

	while (!err && !recorder->end) {
		queue = merge_choose(&recorder->merge, &before_ns);
		if (!queue || queue_head(queue)->time_ns >= until_ns)
			break;
		err = let_out_of(recorder, queue, until_ns, before_ns);
	}
	return err;
}

/* Whether the stream has come to an end, by time or because nothing more fits. */
static void look_for_end(struct recorder *recorder, __u64 horizon_ns)
{
	if (!recorder->end)
		recorder->end = stream_capped(&recorder->stream,
					      sizeof(struct fwdcap_pcap_record_header));
	if (!recorder->end && horizon_ns >= recorder->until_ns)
		recorder->end = recorder->until_reason;
}

/* One pass over the rings, until they are empty or it is time to look up. */
static int pass(struct recorder *recorder, __u64 *bytes)
{
	__u64 enough = smaller(BUSY_BYTES, recorder->rings.ring[0].size / 8);
	const struct fwdcap_checkpoint *now = &recorder->stream.now;
	__u64 start = recorder->taken_bytes;
	__u64 horizon_ns, packets;
	bool more;
	int err;

	do {
		more = take_in_all(recorder);
		horizon_ns = merge_horizon(&recorder->merge);
		packets = now->packets;
		err = let_out(recorder, smaller(horizon_ns + 1, recorder->until_ns));
		look_for_end(recorder, horizon_ns);
		*bytes = recorder->taken_bytes - start;
		/* A ring that there was no room for may have some now. */
		more |= now->packets - packets >= MERGE_BATCH;
	} while (!err && !recorder->end && more && *bytes < enough);
	return err;
}

/* Whether an eighth of a ring could be given back. */
static bool wants_space(const struct recorder *recorder)
{
	const struct ring *ring;
	__u64 least, lowest;

	for (__u32 i = 0; i < recorder->rings.nr; i++) {
		ring = &recorder->rings.ring[i];
		least = recorder->stream.now.ring_position[i] + ring->size / 8;
		if (ring->position < least)
			continue;
		lowest = queue_lowest_position(&recorder->merge.queues[i], ring->position);
		if (lowest >= least)
			return true;
	}
	return false;
}

/* Commits when it is time to, or when a ring needs its space back. */
static int tick(struct recorder *recorder)
{
	__u64 since_ns = monotonic_ns() - recorder->committed_ns;

	if (since_ns >= (recorder->stream.block ? COMMIT_NS : HEARTBEAT_NS) ||
	    wants_space(recorder))
		return recorder_commit(recorder);
	return writer_failed(&recorder->writer) ? -EIO : 0;
}

static __u64 next_pause(const struct recorder *recorder, __u64 pause_ns, __u64 bytes)
{
	if (bytes >= smaller(CALM_BYTES, recorder->rings.ring[0].size / 64))
		return pause_ns / 2 < PAUSE_MIN_NS ? PAUSE_MIN_NS : pause_ns / 2;
	return smaller(pause_ns * 2, PAUSE_MAX_NS);
}

int recorder_run(struct recorder *recorder, const volatile sig_atomic_t *asked)
{
	__u64 busy = smaller(BUSY_BYTES, recorder->rings.ring[0].size / 8);
	__u64 pause_ns = PAUSE_MIN_NS;
	__u64 bytes = 0;
	int err;

	err = recorder_commit(recorder);
	while (!err && !recorder->end && *asked != FWDCAP_END_SIGNAL) {
		if (*asked == FWDCAP_END_ROLL)
			recorder_limit(recorder, monotonic_ns(), FWDCAP_END_ROLL);
		err = pass(recorder, &bytes);
		if (!err)
			err = tick(recorder);
		if (err || recorder->end || bytes >= busy)
			continue;
		pause_ns = next_pause(recorder, pause_ns, bytes);
		sleep_ns(pause_ns);
	}
	return err;
}

static bool behind(const struct recorder *recorder, const __u64 *ends)
{
	for (__u32 i = 0; i < recorder->rings.nr; i++)
		if (recorder->rings.ring[i].position < ends[i])
			return true;
	return false;
}

int recorder_drain(struct recorder *recorder)
{
	__u64 ends[FWDCAP_MAX_RINGS], progress_ns, before_ns, bytes = 0;
	int err = 0;

	sleep_ns(SETTLE_NS);
	for (__u32 i = 0; i < recorder->rings.nr; i++)
		ends[i] = ring_produced(&recorder->rings.ring[i]);
	progress_ns = monotonic_ns();
	while (!err && !recorder->end && behind(recorder, ends)) {
		err = pass(recorder, &bytes);
		if (!err)
			err = tick(recorder);
		if (bytes)
			progress_ns = monotonic_ns();
		else if (monotonic_ns() - progress_ns > DRAIN_NS)
			break;
		else
			sleep_ns(PAUSE_MIN_NS);
	}
	if (!err)
		err = let_out(recorder, recorder->until_ns);
	/* What is still held is from after the end. */
	if (!err && !recorder->end && merge_choose(&recorder->merge, &before_ns))
		recorder->end = recorder->until_reason;
	return err;
}
