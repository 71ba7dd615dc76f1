/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_PLAN_H
#define FWDCAP_SCAN_PLAN_H

#include <stddef.h>

#include "abi.h"

/*
 * What to read, and the words that go with it: given on standard input by who
 * knows streams and indexes (fwdcap/store/scanplan.py), since a stream may have
 * thousands of segments. Lines of fields between tabs, UTF-8 without control
 * characters, in this order:
 *
 *   fwdcap-scan-plan 1
 *   stream NAME               begins a stream; what follows belongs to it
 *   hardware|os|application|comment TEXT        for pcapng
 *   select ROUTE_ID           only records of this route (several: of these)
 *   interface ROUTE_ID MODE RECEIVED|- DROPPED|- NAME DESCRIPTION    for pcapng
 *   gap NS TEXT               said at the first record from that time on
 *   segment OFFSET LENGTH PATH            whole records from OFFSET on
 *   tags FIRST PATH           of the segment above; FIRST is its first record's
 *   end
 */

#define PLAN_TEXT_BYTES 4096 /* of one field */
#define PLAN_UNKNOWN UINT64_MAX

struct plan_interface {
	__u32 route_id;
	__u8 mode;
	__u64 received; /* PLAN_UNKNOWN: not said */
	__u64 dropped;
	const char *name;
	const char *description;
};

struct plan_gap {
	__u64 ns;
	const char *text;
};

struct plan_segment {
	__u64 offset;
	__u64 length;
	const char *path;
	const char *tags_path; /* NULL: it has none */
	__u64 first_tag;
};

struct plan_stream {
	const char *name;
	const char *hardware;
	const char *os;
	const char *application;
	const char **comments;
	size_t nr_comments;
	__u32 *selected; /* ascending; none: every route */
	size_t nr_selected;
	struct plan_interface *interfaces;
	size_t nr_interfaces;
	struct plan_gap *gaps; /* by time */
	size_t nr_gaps;
	struct plan_segment *segments;
	size_t nr_segments;
};

struct plan {
	char *text; /* what the strings point into */
	struct plan_stream *streams;
	size_t nr_streams;
};

/* Reads and parses the plan from @fd. -EINVAL, said, where it is not one. */
int plan_read(struct plan *plan, int fd);

/* Parses @text, @length bytes with a NUL behind them, which the plan takes over. */
int plan_parse(struct plan *plan, char *text, size_t length);

void plan_free(struct plan *plan);

#endif
