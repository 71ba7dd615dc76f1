/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_PREDICATE_H
#define FWDCAP_SCAN_PREDICATE_H

#include <pcap/pcap.h>

#include "scan/batch.h"
#include "scan/options.h"
#include "scan/plan.h"

/* Which records are wanted. */
struct predicate {
	const struct options *options;
	const struct plan_stream *stream;
	bool needs_tags;
	size_t nr_programs;
	struct bpf_program programs[OPTIONS_FILTERS];
};

/* Compiles the filters. -EINVAL, said, where one is wrong. */
int predicate_init(struct predicate *predicate, const struct options *options);

/* From here on records are of @stream. */
void predicate_stream(struct predicate *predicate, const struct plan_stream *stream);

/* Keeps the wanted ones. -ENODATA: one has no tag, and its tag would decide. */
int predicate_keep(const struct predicate *predicate, struct batch *batch);

void predicate_free(struct predicate *predicate);

#endif
