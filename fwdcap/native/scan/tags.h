/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_TAGS_H
#define FWDCAP_SCAN_TAGS_H

#include "scan/batch.h"
#include "scan/plan.h"

#define TAGS_BUFFERED 8192

/* The tags beside a segment's records, read along with them. */
struct tags {
	int fd; /* -1: the segment has none */
	const char *path;
	__u64 next; /* number of the entry after those buffered */
	size_t begin;
	size_t end;
	struct fwdcap_tag buffer[TAGS_BUFFERED];
};

/* Opens the tags of @segment; that there are none is not an error. */
int tags_open(struct tags *tags, const struct plan_segment *segment);

/* Gives each record its tag, as far as there are any. */
int tags_join(struct tags *tags, struct batch *batch);

void tags_close(struct tags *tags);

#endif
