/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_OUTPUT_H
#define FWDCAP_SCAN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <zlib.h>

#include "abi.h"

/* The largest piece that output_room() can be asked for. */
#define OUTPUT_PIECE_BYTES (512U << 10)

/* A buffer before a file or pipe, compressed on the way if wanted. */
struct output {
	int fd;
	unsigned char *buffer;
	size_t used;
	__u64 written; /* bytes that left for @fd */
	bool gzip;
	z_stream stream;
	unsigned char *packed; /* what the compressor made */
};

/* @level is zlib's; 0 leaves everything as it is. */
int output_init(struct output *output, int fd, int level);

/* Room for @bytes that come next, to be filled and then taken by output_put(). NULL: failed. */
unsigned char *output_room(struct output *output, size_t bytes, int *err);

static inline void output_put(struct output *output, size_t bytes)
{
	output->used += bytes;
}

/* Any number of bytes. */
int output_write(struct output *output, const void *data, size_t bytes);

/* Sends what there is, so that its reader can see it. */
int output_flush(struct output *output);

/* Sends what there is and ends the compressed stream. */
int output_finish(struct output *output);

/* Has whoever reads the output gone? */
bool output_abandoned(const struct output *output);

void output_free(struct output *output);

#endif
