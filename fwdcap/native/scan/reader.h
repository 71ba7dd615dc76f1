/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_READER_H
#define FWDCAP_SCAN_READER_H

#include "scan/batch.h"
#include "scan/plan.h"

#define READER_BYTES (1U << 20) /* of one read; stays in the cache until it is written */

/* Walks the records of one segment's range after the other. Trusts no byte of them. */
struct reader {
	size_t chunk_bytes;
	unsigned char *buffer;
	size_t begin; /* of what is buffered and not walked yet */
	size_t end;

	int fd;
	const struct plan_segment *segment;
	__u64 position; /* in the segment, of what is read next */
	__u32 link_type;
};

int reader_init(struct reader *reader, size_t chunk_bytes);

/* Opens a segment and checks its header. Errors are said. */
int reader_open(struct reader *reader, const struct plan_segment *segment);

/* Decodes the next records; none at the end of the range. Errors are said. */
int reader_next(struct reader *reader, struct batch *batch);

void reader_close(struct reader *reader);
void reader_free(struct reader *reader);

#endif
