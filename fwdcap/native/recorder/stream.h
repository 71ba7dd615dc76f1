/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_STREAM_H
#define FWDCAP_STREAM_H

#include <stdbool.h>

#include "recorder/loss.h"
#include "recorder/segment.h"

/*
 * The stream as it grows: turns records into pcap bytes, tags and index entries
 * in the block being filled, and keeps the checkpoint that will cover them.
 */
struct stream {
	struct fwdcap_checkpoint now; /* with everything in the block */
	struct missing missing;	      /* sequence gaps not yet given a reason */
	struct block *block;	      /* NULL: none in hand */
	size_t block_bytes;
	__u64 segment_limit_bytes;
	__u32 snaplen;	   /* 0: whole frames */
	__u64 max_bytes;   /* of the whole stream as one pcap file */
	__u64 max_packets;

	__u64 second_ns;	/* UTC where the pcap second of last_ns began */
	__u32 second;		/* the same in seconds */
	__u64 next_index_ns;	/* where the stream's next whole second begins */
	__u64 entry_bytes;	/* .bytes of the last index entry */
	struct segment_end end; /* tail the next block begins with */
};

/* Begins an empty stream of so many CPUs and rings. */
void stream_begin(struct stream *stream, __u32 nr_cpus, __u32 nr_rings);

/* Has an empty stream begin where @last was rolled. */
void stream_follow(struct stream *stream, const struct fwdcap_checkpoint *last);

/* Goes on after @checkpoint; @stream->end is already filled in. */
void stream_resume(struct stream *stream, const struct fwdcap_checkpoint *checkpoint);

static inline __u32 stream_stored_length(const struct stream *stream,
					 const struct fwdcap_record *record)
{
	if (stream->snaplen && record->caplen > stream->snaplen)
		return stream->snaplen;
	return record->caplen;
}

/* What it takes in the stream's pcap. */
static inline __u32 stream_record_bytes(const struct stream *stream,
					const struct fwdcap_record *record)
{
	return (__u32)sizeof(struct fwdcap_pcap_record_header) +
	       stream_stored_length(stream, record);
}

/* Which cap keeps a record of @bytes out; FWDCAP_END_NONE if it may come in. */
static inline enum fwdcap_end_reason stream_capped(const struct stream *stream, __u32 bytes)
{
	if (stream->now.packets >= stream->max_packets)
		return FWDCAP_END_MAX_PACKETS;
	if (sizeof(struct fwdcap_pcap_file_header) + stream->now.bytes + bytes > stream->max_bytes)
		return FWDCAP_END_MAX_BYTES;
	return FWDCAP_END_NONE;
}

/* Starts filling @block, in a new segment if the next record asks for one. */
void stream_take(struct stream *stream, struct block *block,
		 const struct fwdcap_record *record);

/* Whether @record still goes into the block in hand. */
bool stream_fits(const struct stream *stream, const struct fwdcap_record *record);

/* Appends @record as of @monotonic_ns. Times only grow; the caller made it fit. */
void stream_append(struct stream *stream, const struct fwdcap_record *record, __u64 monotonic_ns);

/* Puts the checkpoint into the block and lets go of it. */
void stream_let_go(struct stream *stream);

#endif
