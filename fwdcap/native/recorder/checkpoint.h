/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_CHECKPOINT_H
#define FWDCAP_CHECKPOINT_H

#include <stdbool.h>

#include "abi.h"

struct checkpoint_file {
	int fd;
	__u64 generation; /* of the last one written */
	unsigned char slot[FWDCAP_CHECKPOINT_SLOT] __attribute__((aligned(8)));
};

/*
 * Opens (or makes) the stream's checkpoint and reads the last valid one into
 * @last; @found says whether there was one.
 */
int checkpoint_open(struct checkpoint_file *file, int directory, gid_t group,
		    struct fwdcap_checkpoint *last, bool *found);

/*
 * Reads the last valid checkpoint of another stream that has ended, and nothing
 * else: -ENOENT when there is none.
 */
int checkpoint_read(int directory, struct fwdcap_checkpoint *last);

/* Writes @checkpoint, as of now, into the older slot. */
int checkpoint_write(struct checkpoint_file *file, const struct fwdcap_checkpoint *checkpoint);

int checkpoint_sync(struct checkpoint_file *file);

#endif
