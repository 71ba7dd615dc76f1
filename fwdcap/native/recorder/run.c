/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "recorder/clock.h"
#include "recorder/recorder.h"
#include "recorder/say.h"

/* Committed is seen within 250 ms, with time to spare for the disk. */
#define COMMIT_NS 150000000ULL
#define HEARTBEAT_NS 900000000ULL

#define PAUSE_MIN_NS 50000ULL
#define PAUSE_MAX_NS 2000000ULL
#define BUSY_BYTES (1U << 20)  /* a pass that finds this much is not followed by a pause */
#define CALM_BYTES (64U << 10) /* one that finds less, by a longer pause than before */
#define BATCH_RECORDS 256U

#define SETTLE_NS 2000000ULL	/* programs that were running are done */
#define DRAIN_NS 1000000000ULL	/* how long a record may stay unfinished */

static __u64 smaller(__u64 one, __u64 other)
{
	return one < other ? one : other;
}

static __u64 larger(__u64 one, __u64 other)
{
	return one > other ? one : other;
}

/* Takes a batch in. Returns how many records it found. */
static __u32 take_in(struct recorder *recorder)
{
	const struct fwdcap_record *record;
	__u64 position;
	__u32 taken;

	for (taken = 0; taken < BATCH_RECORDS; taken++) {
		record = ring_next(&recorder->ring, &position);
		if (!record)
			break;
		/* Committed before a crash and met again. */
		if (record->sequence < recorder->taken_sequence[record->cpu])
			continue;
		recorder->taken_sequence[record->cpu] = record->sequence + 1;
		merge_insert(&recorder->merge, record, position);
	}
	return taken;
}

/* Hands the block over, an empty one if there is none in hand. */
static int commit(struct recorder *recorder)
{
	struct stream *stream = &recorder->stream;
	struct block *block;

	if (!stream->block) {
		block = writer_take(&recorder->writer, true);
		if (!block)
			return -EIO;
		stream_take(stream, block, NULL);
	}
	stream->now.ring_position =
		merge_lowest_position(&recorder->merge, recorder->ring.position);
	loss_attribute(&recorder->loss, &stream->now, stream->missing, FWDCAP_LOSS_UNKNOWN);
	stream->missing = 0;
	recorder->committed_position = stream->now.ring_position;
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
		err = commit(recorder);
		if (err)
			return err;
	}
	block = writer_take(&recorder->writer, true);
	if (!block)
		return -EIO;
	stream_take(stream, block, record);
	return 0;
}

/* Writes what was held back long enough. */
static int let_out(struct recorder *recorder, __u64 until_ns)
{
	struct merge *merge = &recorder->merge;
	const struct fwdcap_record *record;
	const struct held *held;
	int err;

	while ((held = merge_first(merge, until_ns))) {
		record = ring_record(&recorder->ring, held->position);
		err = make_fit(recorder, record);
		if (err)
			return err;
		stream_append(&recorder->stream, record, held->time_ns);
		merge_pop(merge);
		__builtin_prefetch(ring_record(&recorder->ring,
					       merge_at(merge, merge->first)->position));
	}
	return 0;
}

/* How far the merge may let out: nothing older is to be expected. */
static __u64 horizon(const struct recorder *recorder, bool idle)
{
	__u64 newest_ns = larger(recorder->merge.newest_ns, idle ? monotonic_ns() : 0);

	return newest_ns > HOLD_BACK_NS ? newest_ns - HOLD_BACK_NS : 0;
}

/* One pass over the ring, until it is empty or it is time to look up. */
static int pass(struct recorder *recorder, __u64 *bytes)
{
	__u64 start = recorder->ring.position;
	__u64 enough = smaller(BUSY_BYTES, recorder->ring.size / 8);
	struct merge *merge = &recorder->merge;
	__u64 until_ns;
	bool idle;
	int err;

	do {
		idle = take_in(recorder) < BATCH_RECORDS;
		until_ns = horizon(recorder, idle);
		/* More within the hold-back than it can keep: the oldest go. */
		if (merge_room(merge) < BATCH_RECORDS)
			until_ns = larger(until_ns,
					  merge_at(merge, merge->first + BATCH_RECORDS)->time_ns);
		err = let_out(recorder, until_ns);
		*bytes = recorder->ring.position - start;
	} while (!err && !idle && *bytes < enough);
	return err;
}

/* Commits when it is time to, or when the ring needs its space back. */
static int tick(struct recorder *recorder)
{
	__u64 share = recorder->ring.size / 8;
	__u64 since_ns = monotonic_ns() - recorder->committed_ns;
	__u64 lowest;

	if (since_ns >= (recorder->stream.block ? COMMIT_NS : HEARTBEAT_NS))
		return commit(recorder);
	if (recorder->ring.position - recorder->committed_position < share)
		return writer_failed(&recorder->writer) ? -EIO : 0;
	lowest = merge_lowest_position(&recorder->merge, recorder->ring.position);
	return lowest - recorder->committed_position < share ? 0 : commit(recorder);
}

static __u64 next_pause(const struct recorder *recorder, __u64 pause_ns, __u64 bytes)
{
	if (bytes >= smaller(CALM_BYTES, recorder->ring.size / 64))
		return pause_ns / 2 < PAUSE_MIN_NS ? PAUSE_MIN_NS : pause_ns / 2;
	return smaller(pause_ns * 2, PAUSE_MAX_NS);
}

int recorder_run(struct recorder *recorder, const volatile sig_atomic_t *stop)
{
	__u64 busy = smaller(BUSY_BYTES, recorder->ring.size / 8);
	__u64 pause_ns = PAUSE_MIN_NS;
	__u64 bytes = 0;
	int err;

	recorder->committed_position = recorder->ring.position;
	err = commit(recorder);
	while (!err && !*stop) {
		err = pass(recorder, &bytes);
		if (!err)
			err = tick(recorder);
		if (err || bytes >= busy)
			continue;
		pause_ns = next_pause(recorder, pause_ns, bytes);
		sleep_ns(pause_ns);
	}
	return err;
}

/*
 * Takes in all that is in the ring now, whether or not emission goes on: each
 * record numbered below @end_sequence is either found there or lost.
 */
static int drain(struct recorder *recorder, __u64 *end_sequence)
{
	__u64 progress_ns, end, bytes = 0;
	int err = 0;

	loss_sequences(&recorder->loss, end_sequence);
	sleep_ns(SETTLE_NS);
	end = ring_produced(&recorder->ring);
	progress_ns = monotonic_ns();
	while (!err && recorder->ring.position < end) {
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
		err = let_out(recorder, UINT64_MAX);
	return err;
}

int recorder_finish(struct recorder *recorder)
{
	struct fwdcap_checkpoint *now = &recorder->stream.now;
	struct writer *writer = &recorder->writer;
	__u64 end_sequence[FWDCAP_MAX_CPUS];
	int err;

	err = drain(recorder, end_sequence);
	if (err)
		return recorder_fail(recorder, err);
	loss_attribute(&recorder->loss, now, recorder->stream.missing, FWDCAP_LOSS_UNKNOWN);
	recorder->stream.missing = 0;
	loss_conclude(&recorder->loss, now, end_sequence, FWDCAP_LOSS_UNKNOWN);
	err = commit(recorder);
	if (err || writer_stop(writer))
		return recorder_fail(recorder, err);
	writer->committed.state = FWDCAP_RECORDER_COMPLETE;
	err = writer_seal(writer, &writer->committed);
	if (err)
		return refuse(err, "cannot seal the stream in %s: %m", recorder->options->stream);
	return 0;
}

int recorder_fail(struct recorder *recorder, int error)
{
	struct writer *writer = &recorder->writer;
	struct fwdcap_checkpoint *last = &writer->committed;
	__u64 end_sequence[FWDCAP_MAX_CPUS];
	int written = writer_stop(writer);

	if (written)
		error = written;
	refuse(error, "cannot write the stream in %s, which ends after %llu packets: %m",
	       recorder->options->stream, (unsigned long long)last->packets);
	if (!last->segment_bytes)
		return error;
	loss_sequences(&recorder->loss, end_sequence);
	loss_conclude(&recorder->loss, last, end_sequence, FWDCAP_LOSS_DISK);
	last->state = FWDCAP_RECORDER_FAILED;
	last->error = (__u32)-error;
	last->ring_position = ring_produced(&recorder->ring);
	/* Said already: whatever this meets is the same disk in the same state. */
	writer_seal(writer, last);
	return error;
}
