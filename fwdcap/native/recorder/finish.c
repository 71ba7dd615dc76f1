/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "recorder/clock.h"
#include "recorder/recorder.h"
#include "recorder/say.h"

/*
 * Whether or not emission goes on: each record numbered by now is either found
 * in a ring or lost.
 */
static int drain(struct recorder *recorder)
{
	struct fwdcap_checkpoint *now = &recorder->stream.now;
	__u64 end_sequence[FWDCAP_MAX_CPUS];
	int err;

	loss_sequences(&recorder->loss, end_sequence);
	err = recorder_drain(recorder);
	if (err || recorder->end)
		return err;
	recorder->end = FWDCAP_END_SIGNAL;
	loss_attribute(&recorder->loss, now, &recorder->stream.missing, FWDCAP_LOSS_UNKNOWN);
	loss_conclude(&recorder->loss, now, end_sequence, FWDCAP_LOSS_UNKNOWN);
	return 0;
}

/* Only in the checkpoint that seals: what is killed before that has not ended. */
static void note_end(const struct recorder *recorder, struct fwdcap_checkpoint *last)
{
	last->state = FWDCAP_RECORDER_COMPLETE;
	last->end_reason = recorder->end;
	last->ended_ns = recorder->end == recorder->until_reason ? recorder->until_ns
								  : monotonic_ns();
	if (recorder->end != FWDCAP_END_SIGNAL)
		loss_curtail(last);
}

int recorder_finish(struct recorder *recorder)
{
	struct writer *writer = &recorder->writer;
	int err = 0;

	if (!recorder->end)
		err = drain(recorder);
	if (!err)
		err = recorder_commit(recorder);
	if (err || writer_stop(writer))
		return recorder_fail(recorder, err);
	note_end(recorder, &writer->committed);
	err = writer_seal(writer, &writer->committed);
	if (err)
		return refuse(err, "cannot seal the stream in %s: %m", recorder->options->stream);
	return 0;
}

/* The records that wait in the rings are lost from the first one on, not from now on. */
static void note_unwritten(struct recorder *recorder, struct fwdcap_checkpoint *last)
{
	const struct fwdcap_record *record;
	__u64 position, time_ns;
	struct ring *ring;

	for (__u32 i = 0; i < recorder->rings.nr; i++) {
		ring = &recorder->rings.ring[i];
		ring->position = last->ring_position[i];
		do
			record = ring_next(ring, &position);
		while (record && record->sequence < last->next_sequence[record->cpu]);
		if (!record)
			continue;
		time_ns = record->monotonic_ns + last->clock_offset_ns;
		loss_extend(last, i, time_ns < last->last_ns ? last->last_ns : time_ns);
	}
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
	note_unwritten(recorder, last);
	loss_conclude(&recorder->loss, last, end_sequence, FWDCAP_LOSS_DISK);
	last->state = FWDCAP_RECORDER_FAILED;
	last->error = (__u32)-error;
	last->end_reason = FWDCAP_END_DISK;
	last->ended_ns = monotonic_ns();
	for (__u32 i = 0; i < recorder->rings.nr; i++)
		last->ring_position[i] = ring_produced(&recorder->rings.ring[i]);
	/* Said already: whatever this meets is the same disk in the same state. */
	writer_seal(writer, last);
	return error;
}
