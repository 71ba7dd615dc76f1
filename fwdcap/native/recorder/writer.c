/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "recorder/clock.h"
#include "recorder/files.h"
#include "recorder/writer.h"

#define RETRY_NS 50000000ULL
#define RETRIES_REPORTED 16 /* every so many, 800 ms */

static int put(struct writer *writer, struct block *block)
{
	struct fwdcap_checkpoint *commit = &block->commit;
	int err = 0;

	if (writer->segment.open && writer->segment.number != commit->segment)
		err = segment_seal(&writer->segment, &writer->committed);
	if (!err && !writer->segment.open)
		err = segment_create(&writer->segment, commit->segment);
	if (!err)
		err = segment_write(&writer->segment, block);
	if (err)
		return err;
	commit->direct_io = writer->segment.direct;
	err = sync_report(&writer->sync, commit);
	if (!err)
		err = checkpoint_write(&writer->checkpoint, commit);
	if (!err && (segment_removed(&writer->segment) || file_removed(writer->checkpoint.fd)))
		err = -ENOENT;
	if (err)
		return err;
	writer->committed = *commit;
	rings_release(writer->rings, commit->ring_position);
	return sync_request(&writer->sync, &writer->segment, writer->checkpoint.fd, commit);
}

/* The slots are on the disk already, so this much goes even when it is full. */
static void report_full(struct writer *writer, int err)
{
	struct fwdcap_checkpoint waiting = writer->committed;

	if (!waiting.segment_bytes)
		return;
	waiting.error = (__u32)-err;
	checkpoint_write(&writer->checkpoint, &waiting);
}

/* The ring holds while retention makes room, for as long as it is worth it. */
static int put_patiently(struct writer *writer, struct block *block)
{
	__u64 deadline_ns = 0;
	int err;

	for (int tries = 0;; tries++) {
		err = put(writer, block);
		if (err != -ENOSPC && err != -EDQUOT)
			return err;
		if (!deadline_ns)
			deadline_ns = monotonic_ns() + WRITER_PATIENCE_NS;
		else if (monotonic_ns() >= deadline_ns)
			return err;
		if (tries % RETRIES_REPORTED == 0)
			report_full(writer, err);
		sleep_ns(RETRY_NS);
	}
}

static struct block *next_block(struct writer *writer)
{
	struct block *block = NULL;

	pthread_mutex_lock(&writer->lock);
	while (writer->written == writer->handed_over && !writer->closing)
		pthread_cond_wait(&writer->changed, &writer->lock);
	if (writer->written != writer->handed_over)
		block = &writer->blocks[writer->written % WRITER_BLOCKS];
	pthread_mutex_unlock(&writer->lock);
	return block;
}

static void *run(void *argument)
{
	struct writer *writer = argument;
	struct block *block;
	int err = 0;

	while (!err && (block = next_block(writer))) {
		err = put_patiently(writer, block);
		pthread_mutex_lock(&writer->lock);
		writer->error = err;
		if (!err)
			writer->written++;
		pthread_cond_broadcast(&writer->changed);
		pthread_mutex_unlock(&writer->lock);
	}
	return NULL;
}

static int make_block(struct block *block, size_t block_bytes)
{
	block->data = aligned_alloc(BLOCK_UNIT, block_bytes);
	block->tags = calloc(BLOCK_TAGS, sizeof(*block->tags));
	block->index = calloc(BLOCK_INDEX, sizeof(*block->index));
	return block->data && block->tags && block->index ? 0 : -ENOMEM;
}

int writer_start(struct writer *writer, size_t block_bytes)
{
	sigset_t all, before;
	int err = 0;

	for (unsigned int i = 0; i < WRITER_BLOCKS && !err; i++)
		err = make_block(&writer->blocks[i], block_bytes);
	if (err)
		return err;
	pthread_mutex_init(&writer->lock, NULL);
	pthread_cond_init(&writer->changed, NULL);
	/* Signals are for the thread that sleeps. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = sync_start(&writer->sync);
	if (!err)
		err = -pthread_create(&writer->thread, NULL, run, writer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

struct block *writer_take(struct writer *writer, bool wait)
{
	struct block *block = NULL;

	pthread_mutex_lock(&writer->lock);
	while (wait && !writer->error && writer->handed_over - writer->written == WRITER_BLOCKS)
		pthread_cond_wait(&writer->changed, &writer->lock);
	if (!writer->error && writer->handed_over - writer->written < WRITER_BLOCKS)
		block = &writer->blocks[writer->handed_over % WRITER_BLOCKS];
	pthread_mutex_unlock(&writer->lock);
	return block;
}

void writer_hand_over(struct writer *writer)
{
	pthread_mutex_lock(&writer->lock);
	writer->handed_over++;
	pthread_cond_broadcast(&writer->changed);
	pthread_mutex_unlock(&writer->lock);
}

bool writer_failed(struct writer *writer)
{
	bool failed;

	pthread_mutex_lock(&writer->lock);
	failed = writer->error;
	pthread_mutex_unlock(&writer->lock);
	return failed;
}

int writer_stop(struct writer *writer)
{
	int sync_error;

	/* Only the caller's thread sets it: a second call finds the thread gone. */
	if (writer->closing)
		return writer->error;
	pthread_mutex_lock(&writer->lock);
	writer->closing = true;
	pthread_cond_broadcast(&writer->changed);
	pthread_mutex_unlock(&writer->lock);
	pthread_join(writer->thread, NULL);
	sync_error = sync_stop(&writer->sync);
	if (!writer->error)
		writer->error = sync_error;
	return writer->error;
}

int writer_seal(struct writer *writer, struct fwdcap_checkpoint *checkpoint)
{
	int err, also;

	/* A failed rotation leaves a segment that nothing was committed to. */
	if (writer->segment.open && writer->segment.number != checkpoint->segment)
		segment_abandon(&writer->segment);
	segment_remove(&writer->segment, checkpoint->segment + 1);
	err = segment_seal(&writer->segment, checkpoint);
	if (err && checkpoint->state != FWDCAP_RECORDER_FAILED) {
		checkpoint->state = FWDCAP_RECORDER_FAILED;
		checkpoint->error = (__u32)-err;
	}
	also = checkpoint_write(&writer->checkpoint, checkpoint);
	if (!also)
		also = checkpoint_sync(&writer->checkpoint);
	if (!also && fsync(writer->segment.directory))
		also = -errno;
	if (!also && !file_removed(writer->checkpoint.fd))
		rings_release(writer->rings, checkpoint->ring_position);
	return err ? err : also;
}
