/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_PCAPNG_H
#define FWDCAP_SCAN_PCAPNG_H

#include <string.h>

#include "scan/batch.h"

/*
 * Blocks and options of draft-ietf-opsawg-pcapng, in host byte order. A block
 * is written into memory that is known to be large enough (option_bytes()).
 */

#define PCAPNG_SECTION 0x0a0d0d0aU
#define PCAPNG_INTERFACE 1U
#define PCAPNG_STATISTICS 5U
#define PCAPNG_PACKET 6U

#define PCAPNG_BYTE_ORDER 0x1a2b3c4dU
#define PCAPNG_LENGTH_UNKNOWN UINT64_MAX

/* of every block */
#define OPTION_END 0
#define OPTION_COMMENT 1
/* of a section */
#define SECTION_HARDWARE 2
#define SECTION_OS 3
#define SECTION_APPLICATION 4
/* of an interface */
#define INTERFACE_NAME 2
#define INTERFACE_DESCRIPTION 3
#define INTERFACE_TSRESOL 9
#define INTERFACE_FILTER 11
/* of its statistics */
#define STATISTICS_RECEIVED 4
#define STATISTICS_DROPPED 5
#define STATISTICS_ACCEPTED 6
#define STATISTICS_DELIVERED 8
/* of a packet */
#define PACKET_FLAGS 2
#define PACKET_VERDICT 7

#define PACKET_INBOUND 1U
#define PACKET_OUTBOUND 2U
#define VERDICT_XDP 2U /* an XDP program's; its value follows, 8 octets */

#define OPTION_HEAD_BYTES 4U
#define BLOCK_HEAD_BYTES 8U
#define BLOCK_TAIL_BYTES 4U

struct block {
	unsigned char *begin;
	unsigned char *at;
};

static inline size_t padded(size_t bytes)
{
	return (bytes + 3) & ~(size_t)3;
}

static inline size_t option_bytes(size_t value_bytes)
{
	return OPTION_HEAD_BYTES + padded(value_bytes);
}

static inline void put(struct block *block, const void *data, size_t bytes)
{
	memcpy(block->at, data, bytes);
	block->at += bytes;
}

static inline void put_u32(struct block *block, __u32 value)
{
	put(block, &value, sizeof(value));
}

static inline void put_padding(struct block *block, size_t bytes)
{
	static const unsigned char zeros[4];

	put(block, zeros, padded(bytes) - bytes);
}

static inline void option_begin(struct block *block, __u16 code, size_t bytes)
{
	__u16 head[2] = { code, (__u16)bytes };

	put(block, head, sizeof(head));
}

static inline void put_option(struct block *block, __u16 code, const void *value, size_t bytes)
{
	option_begin(block, code, bytes);
	put(block, value, bytes);
	put_padding(block, bytes);
}

/* A text that is not there, or empty, is left out. */
static inline void put_text(struct block *block, __u16 code, const char *text)
{
	if (text && *text)
		put_option(block, code, text, strlen(text));
}

static inline size_t text_bytes(const char *text)
{
	return text && *text ? option_bytes(strlen(text)) : 0;
}

static inline void put_count(struct block *block, __u16 code, __u64 value)
{
	put_option(block, code, &value, sizeof(value));
}

/* High half first, whatever the byte order. */
static inline void put_time(struct block *block, __u64 ns)
{
	put_u32(block, (__u32)(ns >> 32));
	put_u32(block, (__u32)ns);
}

static inline struct block block_begin(unsigned char *at, __u32 type)
{
	struct block block = { at, at };

	put_u32(&block, type);
	put_u32(&block, 0);
	return block;
}

/* Returns the length of the whole block. */
static inline size_t block_end(struct block *block)
{
	__u32 length = (__u32)(block->at - block->begin) + BLOCK_TAIL_BYTES;

	put_u32(block, length);
	memcpy(block->begin + sizeof(__u32), &length, sizeof(length));
	return length;
}

#endif
