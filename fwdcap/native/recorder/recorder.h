/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_RECORDER_H
#define FWDCAP_RECORDER_H

#include <signal.h>
#include <sys/stat.h>

#include "recorder/loss.h"
#include "recorder/merge.h"
#include "recorder/stream.h"
#include "recorder/writer.h"

struct options {
	const char *pins;
	const char *stream;
	const char *follow; /* the stream that was rolled into this one, or NULL */
	const char *user;   /* NULL: the owner of the stream's directory */
	__u32 snaplen;
	__u64 segment_bytes;
	__u64 block_bytes;

	/* Where the stream ends by itself; as large as can be: nowhere. */
	__u64 max_bytes;
	__u64 max_packets;
	__u64 max_seconds;
	__u64 roll_at_ns; /* UTC */
};

/* Everything a running recorder is made of, in the order a record passes it. */
struct recorder {
	const struct options *options;
	struct rings rings;
	struct merge merge;
	struct stream stream;
	struct writer writer;
	struct loss loss;

	int lock;	       /* the directory of pins */
	int follow;	       /* the directory of the stream before, if any */
	struct stat directory; /* of the stream */
	bool active;	       /* records were being emitted at the start */
	__u64 committed_ns;    /* when the last block was handed over */
	__u64 taken_bytes;     /* from all rings */
	__u64 taken_sequence[FWDCAP_MAX_CPUS]; /* next one wanted from a ring */

	/* Records from until_ns on (CLOCK_MONOTONIC) are not of this stream. */
	__u64 until_ns;
	enum fwdcap_end_reason until_reason;
	enum fwdcap_end_reason end; /* the stream has reached its end */
};

/* Opens pins and directories: what needs privileges. */
int recorder_open(struct recorder *recorder, const struct options *options);

/* Begins the stream, or goes on with it, and commits that. */
int recorder_begin(struct recorder *recorder);

/* Has the stream end at @until_ns (CLOCK_MONOTONIC) unless it ends before that. */
void recorder_limit(struct recorder *recorder, __u64 until_ns, enum fwdcap_end_reason reason);

/*
 * Records until the stream is at its end, or @asked (enum fwdcap_end_reason)
 * says that it shall be: SIGNAL at once, ROLL with the packets of this moment.
 */
int recorder_run(struct recorder *recorder, const volatile sig_atomic_t *asked);

/* Takes in all that is in the rings and of this stream. */
int recorder_drain(struct recorder *recorder);

/* Completes the stream: drained if a signal ends it, else as it is. */
int recorder_finish(struct recorder *recorder);

/* Hands what is in hand to the writer, with a checkpoint that covers it. */
int recorder_commit(struct recorder *recorder);

/* Gives the memory back; the rest goes with the process. */
void recorder_close(struct recorder *recorder);

/* After an error: seals what is committed. Always returns @error. */
int recorder_fail(struct recorder *recorder, int error);

#endif
