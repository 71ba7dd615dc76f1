/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "recorder/clock.h"
#include "recorder/sync.h"

static int sync_parts(int *parts)
{
	int err = 0;

	for (int i = 0; i < SYNC_PARTS; i++) {
		if (!err && fdatasync(parts[i]))
			err = -errno;
		close(parts[i]);
	}
	return err;
}

static void *run(void *argument)
{
	struct sync *sync = argument;
	int err;

	pthread_mutex_lock(&sync->lock);
	for (;;) {
		while (!sync->busy && !sync->closing)
			pthread_cond_wait(&sync->changed, &sync->lock);
		if (!sync->busy)
			break;
		pthread_mutex_unlock(&sync->lock);
		err = sync_parts(sync->parts); /* nobody else's while busy */
		pthread_mutex_lock(&sync->lock);
		sync->busy = false;
		sync->error = err;
		if (!err) {
			sync->synced_packets = sync->packets;
			sync->synced_ns = sync->begun_ns;
		}
	}
	pthread_mutex_unlock(&sync->lock);
	return NULL;
}

int sync_start(struct sync *sync)
{
	pthread_mutex_init(&sync->lock, NULL);
	pthread_cond_init(&sync->changed, NULL);
	return -pthread_create(&sync->thread, NULL, run, sync);
}

int sync_report(struct sync *sync, struct fwdcap_checkpoint *checkpoint)
{
	int err;

	pthread_mutex_lock(&sync->lock);
	err = sync->error;
	if (sync->synced_ns) {
		checkpoint->synced_packets = sync->synced_packets;
		checkpoint->synced_ns = sync->synced_ns;
	}
	pthread_mutex_unlock(&sync->lock);
	return err;
}

/* Descriptors of our own: the segment may be sealed before they are synced. */
static int take_parts(int *parts, const struct segment *segment, int checkpoint)
{
	const int from[SYNC_PARTS] = {
		[SYNC_DATA] = segment->data,
		[SYNC_TAGS] = segment->tags,
		[SYNC_INDEX] = segment->index,
		[SYNC_DIRECTORY] = segment->directory,
		[SYNC_CHECKPOINT] = checkpoint,
	};

	for (int i = 0; i < SYNC_PARTS; i++) {
		parts[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 0);
		if (parts[i] >= 0)
			continue;
		while (i--)
			close(parts[i]);
		return -errno;
	}
	return 0;
}

static bool due(const struct sync *sync, const struct fwdcap_checkpoint *committed, __u64 now_ns)
{
	return !sync->busy && !sync->error && now_ns - sync->begun_ns >= SYNC_NS &&
	       (!sync->begun_ns || committed->packets != sync->synced_packets);
}

int sync_request(struct sync *sync, const struct segment *segment, int checkpoint,
		 const struct fwdcap_checkpoint *committed)
{
	__u64 now_ns = monotonic_ns();
	int err = 0;

	pthread_mutex_lock(&sync->lock);
	if (due(sync, committed, now_ns)) {
		err = take_parts(sync->parts, segment, checkpoint);
		sync->busy = !err;
		sync->packets = committed->packets;
		sync->begun_ns = now_ns;
		pthread_cond_signal(&sync->changed);
	}
	pthread_mutex_unlock(&sync->lock);
	return err;
}

int sync_stop(struct sync *sync)
{
	pthread_mutex_lock(&sync->lock);
	sync->closing = true;
	pthread_cond_signal(&sync->changed);
	pthread_mutex_unlock(&sync->lock);
	pthread_join(sync->thread, NULL);
	return sync->error;
}
