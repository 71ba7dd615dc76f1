/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_BATCH_H
#define FWDCAP_SCAN_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "abi.h"

#define BATCH_RECORDS 512
#define RECORD_HEADER_BYTES sizeof(struct fwdcap_pcap_record_header)

/* A record as it lies in the reader's buffer: its header, then caplen bytes of frame. */
struct record {
	const unsigned char *bytes;
	__u64 ns;
	__u32 caplen;
	__u32 len;
	struct fwdcap_tag tag;
	bool tagged;
};

/* Records decoded once for all who look at them; valid until the next is read. */
struct batch {
	size_t count;
	struct record records[BATCH_RECORDS];
};

static inline const unsigned char *record_frame(const struct record *record)
{
	return record->bytes + RECORD_HEADER_BYTES;
}

static inline unsigned int record_mode(const struct record *record)
{
	return record->tag.mode_direction & 0xf;
}

static inline unsigned int record_direction(const struct record *record)
{
	return record->tag.mode_direction >> 4;
}

#endif
