/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SYNC_H
#define FWDCAP_SYNC_H

#include <pthread.h>
#include <stdbool.h>

#include "recorder/segment.h"

/*
 * A power cut loses what was not synced. Everything committed is handed to a
 * thread of its own at least this often: data, tags, index, the directory, and
 * then the checkpoint that covers them. So no more than this and the duration
 * of one sync is lost of what was committed; synced_packets of the checkpoint
 * says how far it got. A thread of its own, since a sync may have to wait for
 * whatever else the filesystem has to write, and the writer may not.
 */
#define SYNC_NS 4000000000ULL

enum sync_part {
	SYNC_DATA,
	SYNC_TAGS,
	SYNC_INDEX,
	SYNC_DIRECTORY,
	SYNC_CHECKPOINT, /* last */
	SYNC_PARTS,
};

struct sync {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool busy; /* under the lock, like what follows */
	bool closing;
	int error; /* -errno of a sync that failed; there is no other after it */
	int parts[SYNC_PARTS];
	__u64 packets; /* what the sync under way covers */
	__u64 begun_ns;
	__u64 synced_packets;
	__u64 synced_ns;
};

int sync_start(struct sync *sync);

/* Notes in @checkpoint how far the stream is synced. Returns the error of a sync that failed. */
int sync_report(struct sync *sync, struct fwdcap_checkpoint *checkpoint);

/* Has all that @committed covers synced if it is time to; returns at once. */
int sync_request(struct sync *sync, const struct segment *segment, int checkpoint,
		 const struct fwdcap_checkpoint *committed);

/* Waits for the sync under way and ends the thread. Returns its error. */
int sync_stop(struct sync *sync);

#endif
