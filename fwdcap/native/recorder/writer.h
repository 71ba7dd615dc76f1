/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_WRITER_H
#define FWDCAP_WRITER_H

#include <pthread.h>
#include <stdbool.h>

#include "recorder/checkpoint.h"
#include "recorder/ring.h"
#include "recorder/segment.h"
#include "recorder/sync.h"

#define WRITER_BLOCKS 4U
#define WRITER_PATIENCE_NS 5000000000ULL /* how long a full disk is waited for */

/*
 * The thread that touches the disk. For every block: data, tags, index, then
 * the checkpoint, then the space it covers in the rings goes back to the kernel.
 */
struct writer {
	struct segment segment;
	struct checkpoint_file checkpoint;
	struct fwdcap_checkpoint committed; /* the last one written */
	struct rings *rings;
	struct sync sync;

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct block blocks[WRITER_BLOCKS]; /* used in turn; under the lock: */
	unsigned int handed_over;	    /* counts on */
	unsigned int written;		    /* likewise */
	bool closing;
	int error; /* -errno; the thread has ended */
};

int writer_start(struct writer *writer, size_t block_bytes);

/* The next free block. NULL: the thread failed, or, without @wait, none is free. */
struct block *writer_take(struct writer *writer, bool wait);

/* Queues the block that writer_take() gave last. */
void writer_hand_over(struct writer *writer);

/* Whether the thread has failed. */
bool writer_failed(struct writer *writer);

/* Waits until everything queued is written, ends the thread, says how it went. */
int writer_stop(struct writer *writer);

/* Seals the stream at @checkpoint, after writer_stop(); says FAILED if it cannot. */
int writer_seal(struct writer *writer, struct fwdcap_checkpoint *checkpoint);

#endif
