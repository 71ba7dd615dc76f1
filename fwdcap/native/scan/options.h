/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_OPTIONS_H
#define FWDCAP_SCAN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "abi.h"

#define OPTIONS_FILTERS 16
#define OPTIONS_FILTER_BYTES 16384
#define OPTIONS_ANY_DIRECTION -1

enum format {
	FORMAT_PCAP,
	FORMAT_PCAPNG,
};

/* What is wanted of the records that the plan names. */
struct options {
	bool check_only; /* compile the filters and read nothing */
	enum format format;
	__u64 start_ns; /* [start_ns, stop_ns) */
	__u64 stop_ns;
	const char *filters[OPTIONS_FILTERS]; /* all must match */
	size_t nr_filters;
	unsigned int modes; /* enum fwdcap_mode, or-ed; 0: any */
	int direction;	    /* enum fwdcap_direction, or OPTIONS_ANY_DIRECTION */
	__u32 snaplen;	    /* 0: whole frames */
	int gzip;	    /* zlib's level, 0: plain */
	bool statistics;

	bool switch_user;
	__u32 uid;
	__u32 gid;
	int nice;
	bool idle_io;
	__u64 memory_bytes; /* 0: no limit */
	__u64 cpu_seconds;
};

/* -EINVAL, said, where the command line is wrong. */
int options_parse(struct options *options, int argc, char **argv);

#endif
