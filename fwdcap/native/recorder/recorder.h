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
	const char *user; /* NULL: the owner of the stream's directory */
	__u32 snaplen;
	__u64 segment_bytes;
	__u64 block_bytes;
};

/* Everything a running recorder is made of, in the order a record passes it. */
struct recorder {
	const struct options *options;
	struct ring ring;
	struct merge merge;
	struct stream stream;
	struct writer writer;
	struct loss loss;

	int lock;		     /* the directory of pins */
	struct stat directory;	     /* of the stream */
	bool active;		     /* records were being emitted at the start */
	__u64 committed_ns;	     /* when the last block was handed over */
	__u64 committed_position;    /* and its ring position */
	__u64 taken_sequence[FWDCAP_MAX_CPUS]; /* next one wanted from the ring */
};

/* Opens pins and directory: what needs privileges. */
int recorder_open(struct recorder *recorder, const struct options *options);

/* Begins the stream, or goes on with it, and commits that. */
int recorder_begin(struct recorder *recorder);

/* Records until @stop is set. */
int recorder_run(struct recorder *recorder, const volatile sig_atomic_t *stop);

/* Drains the ring up to now and completes the stream. */
int recorder_finish(struct recorder *recorder);

/* Gives the memory back; the rest goes with the process. */
void recorder_close(struct recorder *recorder);

/* After an error: seals what is committed. Always returns @error. */
int recorder_fail(struct recorder *recorder, int error);

#endif
