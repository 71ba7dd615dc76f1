/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SEGMENT_H
#define FWDCAP_SEGMENT_H

#include <stdbool.h>
#include <sys/types.h>

#include "recorder/block.h"

/* The open segment of a stream: its pcap, its tags and its index. */
struct segment {
	int directory;
	gid_t group;
	__u64 limit_bytes; /* preallocated; a longer one is not started */

	bool open;
	__u32 number;
	int data;
	int tags;
	int index;
	bool direct; /* O_DIRECT is in use */
};

/* What appending to an interrupted segment needs to know of its end. */
struct segment_end {
	unsigned char tail[BLOCK_UNIT]; /* after the last whole unit */
	size_t tail_bytes;
	struct fwdcap_index_entry last_entry; /* if there is one */
};

/* Makes segment @number, empty, and preallocates it. */
int segment_create(struct segment *segment, __u32 number);

/* Opens the segment of @checkpoint again, cut to what is committed. */
int segment_resume(struct segment *segment, const struct fwdcap_checkpoint *checkpoint,
		   struct segment_end *end);

/* Writes a block's bytes, tags and index entries. Harmless when repeated. */
int segment_write(struct segment *segment, struct block *block);

/* Cuts the files to what @checkpoint commits, syncs and closes them. */
int segment_seal(struct segment *segment, const struct fwdcap_checkpoint *checkpoint);

/* Whether one of its files has been removed from the directory. */
bool segment_removed(const struct segment *segment);

/* Closes the files as they are. */
void segment_abandon(struct segment *segment);

/* Removes the files of a segment that was begun and never committed to. */
void segment_remove(const struct segment *segment, __u32 number);

#endif
