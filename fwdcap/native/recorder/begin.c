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

static int open_directory(struct recorder *recorder)
{
	const char *path = recorder->options->stream;
	int fd;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &recorder->directory))
		return refuse(-errno, "cannot open the stream's directory %s: %m", path);
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
	struct loss *loss = &recorder->loss;
	int err;

	recorder->options = options;
	recorder->lock = pins_lock(options->pins);
	if (recorder->lock < 0)
		return recorder->lock;
	err = ring_open(&recorder->ring, options->pins);
	if (!err)
		err = pins_cpu_states(options->pins, &loss->states, &loss->nr_cpus);
	if (!err)
		err = pins_capture_active(options->pins, &recorder->active);
	if (!err)
		err = open_directory(recorder);
	return err;
}

/*
 * What an earlier capture left in the ring is not of this stream. It cannot be
 * told from this stream's records once those come, so a new stream is to be
 * begun before its records are emitted.
 */
static int begin_stream(struct recorder *recorder)
{
	struct stat data;
	int err = 0;

	/* The first block, written before the first checkpoint, is one unit. */
	if (fstatat(recorder->writer.segment.directory, "000000.pcap", &data, 0) == 0 &&
	    data.st_size > BLOCK_UNIT)
		return refuse(-EEXIST, "%s has packets and no valid checkpoint: recover it first",
			      recorder->options->stream);
	if (!recorder->active) {
		recorder->ring.position = ring_produced(&recorder->ring);
		err = loss_remember_stale(&recorder->loss);
	}
	stream_begin(&recorder->stream, clock_offset_ns(), recorder->loss.nr_cpus);
	return err;
}

/* Sequences only grow: a capture that has fewer is another one. */
static bool same_capture(const struct loss *loss, const struct fwdcap_checkpoint *last)
{
	__u64 next_sequence[FWDCAP_MAX_CPUS];

	if (last->nr_cpus != loss->nr_cpus)
		return false;
	loss_sequences(loss, next_sequence);
	for (__u32 cpu = 0; cpu < loss->nr_cpus; cpu++)
		if (next_sequence[cpu] < last->next_sequence[cpu])
			return false;
	return true;
}

static int check_resumable(struct recorder *recorder, const struct fwdcap_checkpoint *last)
{
	const char *path = recorder->options->stream;

	if (last->state != FWDCAP_RECORDER_RUNNING)
		return refuse(-EEXIST, "the stream in %s has ended already", path);
	if (last->heartbeat_ns > monotonic_ns() || !same_capture(&recorder->loss, last) ||
	    last->ring_position > ring_produced(&recorder->ring))
		return refuse(-ESTALE, "the stream in %s was not recorded from the ring in %s", path,
			      recorder->options->pins);
	return 0;
}

static int resume_stream(struct recorder *recorder, const struct fwdcap_checkpoint *last)
{
	struct stream *stream = &recorder->stream;
	int err;

	err = check_resumable(recorder, last);
	if (err)
		return err;
	err = segment_resume(&recorder->writer.segment, last, &stream->end);
	if (err)
		return refuse(err, "cannot go on with segment %06u of %s: %m", last->segment,
			      recorder->options->stream);
	/* Never below what the kernel has overwritten: the gap would be counted. */
	if (last->ring_position > recorder->ring.position)
		recorder->ring.position = last->ring_position;
	recorder->writer.committed = *last;
	memcpy(recorder->taken_sequence, last->next_sequence, sizeof(last->next_sequence));
	stream_resume(stream, last);
	return 0;
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
	writer->ring = &recorder->ring;

	err = checkpoint_open(&writer->checkpoint, writer->segment.directory, writer->segment.group,
			      &last, &found);
	if (err)
		return refuse(err, "cannot open %s/checkpoint: %m", recorder->options->stream);
	err = found ? resume_stream(recorder, &last) : begin_stream(recorder);
	if (err)
		return err;
	err = merge_open(&recorder->merge);
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
	free(recorder->merge.held);
	free(recorder->loss.before);
}
