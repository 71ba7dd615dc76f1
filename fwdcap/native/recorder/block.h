/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_BLOCK_H
#define FWDCAP_BLOCK_H

#include <stddef.h>

#include "abi.h"

#define BLOCK_UNIT 4096U /* what O_DIRECT asks for, on every disk we know */
#define BLOCK_MIN_BYTES (2 * FWDCAP_MAX_FRAME)
#define BLOCK_MAX_BYTES (8U << 20) /* with its tables, four stay below 64 MiB */
#define BLOCK_BYTES (4U << 20)

/*
 * A run of records on its way to the disk: their bytes, their tags, the index
 * entries they open, and the checkpoint that covers them once all are written.
 * The bytes begin at a multiple of BLOCK_UNIT in the segment; where the block
 * before ended in the middle of a unit, they begin with a copy of that tail.
 */
struct block {
	unsigned char *data; /* aligned to BLOCK_UNIT */
	size_t used;
	__u64 offset; /* of data[0] in the segment */

	struct fwdcap_tag *tags;
	__u32 nr_tags;
	struct fwdcap_index_entry *index;
	__u32 nr_index;

	struct fwdcap_checkpoint commit;
};

#define BLOCK_TAGS 131072U /* 32 bytes a record before this is what fills a block */
#define BLOCK_INDEX 4096U  /* more than 17 are seen only after a long standstill */

#endif
