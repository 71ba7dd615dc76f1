/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "recorder/checkpoint.h"
#include "recorder/clock.h"
#include "recorder/files.h"

#define SLOTS 2

_Static_assert(sizeof(struct fwdcap_checkpoint) <= FWDCAP_CHECKPOINT_SLOT, "fits its slot");

static __u32 checksum(const unsigned char *slot)
{
	return (__u32)crc32(0, slot, FWDCAP_CHECKPOINT_SLOT);
}

static bool slot_valid(unsigned char *slot)
{
	struct fwdcap_checkpoint *checkpoint = (void *)slot;
	__u32 expected = checkpoint->crc32;

	checkpoint->crc32 = 0;
	return checkpoint->magic == FWDCAP_CHECKPOINT_MAGIC && checkpoint->abi == FWDCAP_ABI &&
	       checksum(slot) == expected;
}

static int read_slots(struct checkpoint_file *file, struct fwdcap_checkpoint *last)
{
	const struct fwdcap_checkpoint *slot;
	ssize_t got;

	for (int i = 0; i < SLOTS; i++) {
		got = pread(file->fd, file->slot, sizeof(file->slot), i * FWDCAP_CHECKPOINT_SLOT);
		if (got < 0)
			return -errno;
		if (got != sizeof(file->slot) || !slot_valid(file->slot))
			continue;
		slot = (const void *)file->slot;
		if (slot->generation <= file->generation)
			continue;
		file->generation = slot->generation;
		*last = *slot;
	}
	return 0;
}

static int make_room(struct checkpoint_file *file)
{
	int err = 0;

	/* Written now, so that a full disk cannot refuse a checkpoint later. */
	memset(file->slot, 0, sizeof(file->slot));
	for (int i = 0; i < SLOTS && !err; i++)
		err = write_at(file->fd, file->slot, sizeof(file->slot),
			       (__u64)i * FWDCAP_CHECKPOINT_SLOT, 1);
	return err;
}

int checkpoint_open(struct checkpoint_file *file, int directory, gid_t group,
		    struct fwdcap_checkpoint *last, bool *found)
{
	int err;

	file->fd = open_file(directory, "checkpoint", O_CREAT, group);
	if (file->fd < 0)
		return file->fd;
	err = read_slots(file, last);
	*found = file->generation > 0;
	if (!err && !*found)
		err = make_room(file);
	return err;
}

int checkpoint_read(int directory, struct fwdcap_checkpoint *last)
{
	struct checkpoint_file file = {};
	int err;

	file.fd = openat(directory, "checkpoint", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (file.fd < 0)
		return -errno;
	err = read_slots(&file, last);
	close(file.fd);
	return err || file.generation ? err : -ENOENT;
}

int checkpoint_write(struct checkpoint_file *file, const struct fwdcap_checkpoint *checkpoint)
{
	struct fwdcap_checkpoint *new = (void *)file->slot;
	__u64 generation = file->generation + 1;
	int err;

	memset(file->slot, 0, sizeof(file->slot));
	*new = *checkpoint;
	new->magic = FWDCAP_CHECKPOINT_MAGIC;
	new->abi = FWDCAP_ABI;
	new->crc32 = 0;
	new->generation = generation;
	new->heartbeat_ns = monotonic_ns();
	new->crc32 = checksum(file->slot);
	err = write_at(file->fd, file->slot, sizeof(file->slot),
		       generation % SLOTS * FWDCAP_CHECKPOINT_SLOT, 1);
	if (!err)
		file->generation = generation;
	return err;
}

int checkpoint_sync(struct checkpoint_file *file)
{
	return fsync(file->fd) ? -errno : 0;
}
