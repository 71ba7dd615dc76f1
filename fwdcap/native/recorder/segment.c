/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "recorder/files.h"
#include "recorder/segment.h"

#define NAME_MAX_BYTES 32

static __u64 round_up(__u64 bytes)
{
	return (bytes + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT;
}

static int open_part(const struct segment *segment, __u32 number, const char *kind, int flags)
{
	char name[NAME_MAX_BYTES];

	snprintf(name, sizeof(name), "%06u.%s", number, kind);
	return open_file(segment->directory, name, flags, segment->group);
}

void segment_abandon(struct segment *segment)
{
	int *parts[] = { &segment->data, &segment->tags, &segment->index };

	for (size_t i = 0; i < 3; i++) {
		if (*parts[i] >= 0)
			close(*parts[i]);
		*parts[i] = -1;
	}
	segment->open = false;
}

static int open_parts(struct segment *segment, __u32 number, int flags)
{
	segment->number = number;
	segment->data = open_part(segment, number, "pcap", flags);
	segment->tags = open_part(segment, number, "tags", flags);
	segment->index = open_part(segment, number, "index", flags);
	if (segment->data < 0)
		return segment->data;
	return segment->tags < 0 ? segment->tags : segment->index < 0 ? segment->index : 0;
}

/*
 * Reserves the segment's space beyond its end of file: so its length on disk
 * stays within a unit of what is committed, and a reader that knows nothing of
 * checkpoints does not find a gigabyte of zeros. A filesystem that cannot, or
 * that is too full for a whole segment, gets a file that grows.
 */
static int preallocate(struct segment *segment, __u64 length)
{
	off_t limit = (off_t)round_up(segment->limit_bytes);
	int err;

	do {
		err = fallocate(segment->data, FALLOC_FL_KEEP_SIZE, 0, limit);
	} while (err && errno == EINTR);
	if (!err)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSPC && errno != EFBIG && errno != EDQUOT)
		return -errno;
	/* A refusal may have taken what was left: the tags need some, too. */
	return ftruncate(segment->data, (off_t)length) ? -errno : 0;
}

static void start_direct(struct segment *segment)
{
	segment->direct = fcntl(segment->data, F_SETFL, O_RDWR | O_DIRECT) == 0;
}

int segment_create(struct segment *segment, __u32 number)
{
	int err;

	err = open_parts(segment, number, O_CREAT | O_TRUNC);
	if (!err)
		err = preallocate(segment, 0);
	if (err) {
		segment_abandon(segment);
		return err;
	}
	start_direct(segment);
	segment->open = true;
	return 0;
}

static int cut(int fd, __u64 length, bool must_reach)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (must_reach && end >= 0 && (__u64)end < length)
		return -EIO;
	return end < 0 || ftruncate(fd, (off_t)length) ? -errno : 0;
}

static int cut_parts(struct segment *segment, const struct fwdcap_checkpoint *checkpoint)
{
	int err;

	err = cut(segment->data, checkpoint->segment_bytes, true);
	if (!err)
		err = cut(segment->tags, checkpoint->segment_tags * sizeof(struct fwdcap_tag), true);
	if (!err)
		err = cut(segment->index,
			  checkpoint->segment_index * sizeof(struct fwdcap_index_entry), true);
	return err;
}

static int read_end(struct segment *segment, const struct fwdcap_checkpoint *checkpoint,
		    struct segment_end *end)
{
	__u64 entries = checkpoint->segment_index;
	int err;

	end->tail_bytes = checkpoint->segment_bytes % BLOCK_UNIT;
	err = read_at(segment->data, end->tail, end->tail_bytes,
		      checkpoint->segment_bytes - end->tail_bytes);
	if (!err && entries)
		err = read_at(segment->index, &end->last_entry, sizeof(end->last_entry),
			      (entries - 1) * sizeof(end->last_entry));
	return err;
}

int segment_resume(struct segment *segment, const struct fwdcap_checkpoint *checkpoint,
		   struct segment_end *end)
{
	int err;

	err = open_parts(segment, checkpoint->segment, 0);
	if (!err)
		err = cut_parts(segment, checkpoint);
	if (!err)
		err = read_end(segment, checkpoint, end);
	if (!err)
		err = preallocate(segment, checkpoint->segment_bytes);
	if (err) {
		segment_abandon(segment);
		return err;
	}
	start_direct(segment);
	segment->open = true;
	return 0;
}

static int write_data(struct segment *segment, struct block *block)
{
	size_t length = round_up(block->used);
	int err;

	memset(block->data + block->used, 0, length - block->used);
	err = write_at(segment->data, block->data, length, block->offset,
		       segment->direct ? BLOCK_UNIT : 1);
	if (err != -EINVAL || !segment->direct)
		return err;
	/* The flag was taken and the write refused: go on without. */
	segment->direct = false;
	if (fcntl(segment->data, F_SETFL, O_RDWR))
		return -errno;
	return write_at(segment->data, block->data, length, block->offset, 1);
}

int segment_write(struct segment *segment, struct block *block)
{
	size_t tags = block->nr_tags * sizeof(*block->tags);
	size_t index = block->nr_index * sizeof(*block->index);
	int err;

	err = write_data(segment, block);
	if (!err)
		err = write_at(segment->tags, block->tags, tags,
			       block->commit.segment_tags * sizeof(*block->tags) - tags, 1);
	if (!err)
		err = write_at(segment->index, block->index, index,
			       block->commit.segment_index * sizeof(*block->index) - index, 1);
	return err;
}

bool segment_removed(const struct segment *segment)
{
	return file_removed(segment->data) || file_removed(segment->tags) ||
	       file_removed(segment->index);
}

int segment_seal(struct segment *segment, const struct fwdcap_checkpoint *checkpoint)
{
	int err;

	if (!segment->open)
		return 0;
	err = cut_parts(segment, checkpoint);
	if (!err && (fsync(segment->data) || fsync(segment->tags) || fsync(segment->index)))
		err = -errno;
	segment_abandon(segment);
	return err;
}

void segment_remove(const struct segment *segment, __u32 number)
{
	static const char *const kinds[] = { "pcap", "tags", "index" };
	char name[NAME_MAX_BYTES];

	for (size_t i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%06u.%s", number, kinds[i]);
		unlinkat(segment->directory, name, 0);
	}
}
