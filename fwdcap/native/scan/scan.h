/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_SCAN_H
#define FWDCAP_SCAN_SCAN_H

#include "scan/emit.h"
#include "scan/output.h"
#include "scan/predicate.h"
#include "scan/reader.h"
#include "scan/tags.h"

/* One pass: segments of a plan → predicate → emitter. */
struct scan {
	const struct options *options;
	const struct plan *plan;
	struct predicate *predicate;
	const struct emitter *emitter;
	struct output *output;
	void *state; /* the emitter's */
	struct reader reader;
	struct tags tags;
	struct batch batch;

	__u64 read_records;
	__u64 read_bytes; /* headers included, likewise below */
	__u64 matched_records;
	__u64 matched_bytes;
};

/* -EPIPE, not said, where whoever reads the output went away; other errors are said. */
int scan_run(struct scan *scan, size_t chunk_bytes);

#endif
