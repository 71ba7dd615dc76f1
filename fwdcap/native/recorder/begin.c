/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recorder/clock.h"
#include "recorder/pins.h"
#include "recorder/recorder.h"
#include "recorder/say.h"

static int open_directory(const char *path, int *fd)
{
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd < 0 ? refuse(-errno, "cannot open the stream's directory %s: %m", path) : 0;
}

static int open_directories(struct recorder *recorder)
{
	const struct options *options = recorder->options;
	int fd, err;

	err = open_directory(options->stream, &fd);
	if (!err && fstat(fd, &recorder->directory))
		err = refuse(-errno, "cannot ask about %s: %m", options->stream);
	if (!err && options->follow)
		err = open_directory(options->follow, &recorder->follow);
	if (err)
		return err;
	recorder->writer.segment = (struct segment){
		.directory = fd,
		.group = recorder->directory.st_gid,
		.limit_bytes = recorder->options->segment_bytes,
		.data = -1,
		.tags = -1,
		.index = -1,
	};
	return 0;
}

int recorder_open(struct recorder *recorder, const struct options *options)
{
	struct fwdcap_capture_control control = {};
	struct loss *loss = &recorder->loss;
	int err;

	recorder->options = options;
	recorder->lock = pins_lock(options->pins);
	if (recorder->lock < 0)
		return recorder->lock;
	err = pins_capture(options->pins, &control);
	if (!err)
		err = rings_open(&recorder->rings, options->pins, control.nr_rings);
	if (!err)
		err = pins_cpu_states(options->pins, &loss->states, &loss->nr_cpus);
	if (!err)
		err = open_directories(recorder);
	recorder->active = control.active;
	return err;
}

/*
 * What an earlier capture left in the rings is not of this stream. It cannot be
 * told from this stream's records once those come, so a new stream is to be
 * begun before its records are emitted.
 */
static int begin_capture(struct recorder *recorder)
{
	struct ring *ring;

	if (recorder->active)
		return 0;
	for (__u32 i = 0; i < recorder->rings.nr; i++) {
		ring = &recorder->rings.ring[i];
		ring->position = ring_produced(ring);
	}
	return loss_remember_stale(&recorder->loss);
}

/* Never below what the kernel has overwritten: the gap would be counted. */
static void go_on_after(struct recorder *recorder, const struct fwdcap_checkpoint *last)
{
	struct ring *ring;

	for (__u32 i = 0; i < recorder->rings.nr; i++) {
		ring = &recorder->rings.ring[i];
		if (last->ring_position[i] > ring->position)
			ring->position = last->ring_position[i];
	}
	memcpy(recorder->taken_sequence, last->next_sequence, sizeof(last->next_sequence));
}

/* Sequences only grow: a capture that has fewer is another one. */
static bool same_capture(const struct recorder *recorder, const struct fwdcap_checkpoint *last)
{
	const struct rings *rings = &recorder->rings;
	const struct loss *loss = &recorder->loss;
	__u64 next_sequence[FWDCAP_MAX_CPUS];

	if (last->nr_cpus != loss->nr_cpus || last->nr_rings != rings->nr)
		return false;
	for (__u32 i = 0; i < rings->nr; i++)
		if (last->ring_position[i] > ring_produced(&rings->ring[i]))
			return false;
	loss_sequences(loss, next_sequence);
	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++)
		if (next_sequence[cpu] < last->next_sequence[cpu])
			return false;
	return true;
}

static int check_rings(const struct recorder *recorder, const char *path,
		       const struct fwdcap_checkpoint *last)
{
	if (last->heartbeat_ns > monotonic_ns() || !same_capture(recorder, last))
		return refuse(-ESTALE, "the stream in %s was not recorded from the ring in %s", path,
			      recorder->options->pins);
	return 0;
}

/* Takes up where another stream was rolled, whether or not emission goes on. */
static int follow_stream(struct recorder *recorder)
{
	const char *path = recorder->options->follow;
	struct fwdcap_checkpoint last = {};
	int err;

	err = checkpoint_read(recorder->follow, &last);
	if (err)
		return refuse(err, "cannot read %s/checkpoint: %m", path);
	if (last.state != FWDCAP_RECORDER_COMPLETE || last.end_reason != FWDCAP_END_ROLL)
		return refuse(-EINVAL, "the stream in %s did not end with a roll", path);
	err = check_rings(recorder, path, &last);
	if (err)
		return err;
	go_on_after(recorder, &last);
	stream_follow(&recorder->stream, &last);
	return 0;
}

static int begin_stream(struct recorder *recorder)
{
	struct stat data;

	/* The first block, written before the first checkpoint, is one unit. */
	if (fstatat(recorder->writer.segment.directory, "000000.pcap", &data, 0) == 0 &&
	    data.st_size > BLOCK_UNIT)
		return refuse(-EEXIST, "%s has packets and no valid checkpoint: recover it first",
			      recorder->options->stream);
	stream_begin(&recorder->stream, recorder->loss.nr_cpus, recorder->rings.nr);
	return recorder->options->follow ? follow_stream(recorder) : begin_capture(recorder);
}

/*
 * Whether the counters may still be an earlier capture's: nothing was emitted
 * before the stream was left, and nothing has been since.
 */
static bool never_emitted(const struct recorder *recorder, const struct fwdcap_checkpoint *last)
{
	const struct loss *loss = &recorder->loss;

	if (recorder->active)
		return false;
	for (__u32 i = 0; i < recorder->rings.nr; i++)
		if (ring_produced(&recorder->rings.ring[i]) > last->ring_position[i])
			return false;
	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++)
		if (last->next_sequence[cpu] || loss->states[cpu].last_loss_ns >= last->begun_ns)
			return false;
	return true;
}

static int resume_stream(struct recorder *recorder, const struct fwdcap_checkpoint *last)
{
	struct stream *stream = &recorder->stream;
	int err;

	if (last->state != FWDCAP_RECORDER_RUNNING)
		return refuse(-EEXIST, "the stream in %s has ended already",
			      recorder->options->stream);
	err = check_rings(recorder, recorder->options->stream, last);
	if (err)
		return err;
	err = segment_resume(&recorder->writer.segment, last, &stream->end);
	if (err)
		return refuse(err, "cannot go on with segment %06u of %s: %m", last->segment,
			      recorder->options->stream);
	go_on_after(recorder, last);
	recorder->writer.committed = *last;
	stream_resume(stream, last);
	return never_emitted(recorder, last) ? loss_remember_stale(&recorder->loss) : 0;
}

static void set_limits(struct recorder *recorder)
{
	const struct options *options = recorder->options;
	const struct fwdcap_checkpoint *now = &recorder->stream.now;

	recorder->stream.max_bytes = options->max_bytes;
	recorder->stream.max_packets = options->max_packets;
	recorder->until_ns = UINT64_MAX;
	if (options->max_seconds != UINT64_MAX)
		recorder_limit(recorder, now->begun_ns + options->max_seconds * NS_PER_SECOND,
			       FWDCAP_END_MAX_SECONDS);
	if (options->roll_at_ns != UINT64_MAX)
		recorder_limit(recorder,
			       options->roll_at_ns > now->clock_offset_ns
				       ? options->roll_at_ns - now->clock_offset_ns
				       : 0,
			       FWDCAP_END_ROLL);
}

int recorder_begin(struct recorder *recorder)
{
	struct stream *stream = &recorder->stream;
	struct writer *writer = &recorder->writer;
	struct fwdcap_checkpoint last = {};
	bool found = false;
	int err;

	stream->block_bytes = recorder->options->block_bytes;
	stream->segment_limit_bytes = recorder->options->segment_bytes;
	stream->snaplen = recorder->options->snaplen;
	writer->rings = &recorder->rings;

	err = checkpoint_open(&writer->checkpoint, writer->segment.directory, writer->segment.group,
			      &last, &found);
	if (err)
		return refuse(err, "cannot open %s/checkpoint: %m", recorder->options->stream);
	err = found ? resume_stream(recorder, &last) : begin_stream(recorder);
	if (err)
		return err;
	set_limits(recorder);
	err = merge_open(&recorder->merge, recorder->rings.nr);
	if (!err)
		err = writer_start(writer, stream->block_bytes);
	if (err)
		return refuse(err, "cannot start to write: %m");
	return 0;
}

void recorder_close(struct recorder *recorder)
{
	for (size_t i = 0; i < WRITER_BLOCKS; i++) {
		free(recorder->writer.blocks[i].data);
		free(recorder->writer.blocks[i].tags);
		free(recorder->writer.blocks[i].index);
	}
	merge_close(&recorder->merge);
	free(recorder->loss.before);
}
