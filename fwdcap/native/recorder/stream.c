/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "recorder/clock.h"
#include "recorder/stream.h"

static void begin_segment(struct stream *stream)
{
	struct fwdcap_pcap_file_header header = {
		.magic = FWDCAP_PCAP_MAGIC_NS,
		.version_major = 2,
		.version_minor = 4,
		.snaplen = FWDCAP_PCAP_SNAPLEN,
		.link_type = FWDCAP_LINKTYPE_ETHERNET,
	};

	memcpy(stream->end.tail, &header, sizeof(header));
	stream->end.tail_bytes = sizeof(header);
	stream->now.segment_bytes = sizeof(header);
	stream->now.segment_tags = 0;
	stream->now.segment_index = 0;
}

void stream_begin(struct stream *stream, __u32 nr_cpus, __u32 nr_rings)
{
	stream->now = (struct fwdcap_checkpoint){
		.state = FWDCAP_RECORDER_RUNNING,
		.nr_cpus = nr_cpus,
		.nr_rings = nr_rings,
		.begun_ns = monotonic_ns(),
		.clock_offset_ns = clock_offset_ns(),
	};
	begin_segment(stream);
}

void stream_follow(struct stream *stream, const struct fwdcap_checkpoint *last)
{
	struct fwdcap_checkpoint *now = &stream->now;

	now->begun_ns = last->ended_ns;
	memcpy(now->next_sequence, last->next_sequence, sizeof(now->next_sequence));
	for (__u32 cpu = 0; cpu < last->nr_cpus; cpu++)
		now->begun_sequence += last->next_sequence[cpu];
	for (int loss = 0; loss < FWDCAP_LOSSES; loss++)
		now->lost_before[loss] = last->lost_before[loss] + last->lost_records[loss];
}

static __u64 next_whole_second(const struct stream *stream, __u64 time_ns)
{
	__u64 seconds = (time_ns - stream->now.first_ns) / FWDCAP_INDEX_NS;

	return stream->now.first_ns + (seconds + 1) * FWDCAP_INDEX_NS;
}

void stream_resume(struct stream *stream, const struct fwdcap_checkpoint *checkpoint)
{
	stream->now = *checkpoint;
	stream->now.error = 0; /* a full disk that was waited for */
	stream->entry_bytes = stream->end.last_entry.bytes;
	stream->next_index_ns = next_whole_second(stream, checkpoint->last_ns);
}

static bool starts_segment(const struct stream *stream, __u32 need)
{
	return stream->now.segment_tags &&
	       stream->now.segment_bytes + need > stream->segment_limit_bytes;
}

void stream_take(struct stream *stream, struct block *block, const struct fwdcap_record *record)
{
	if (record && starts_segment(stream, stream_record_bytes(stream, record))) {
		stream->now.segment++;
		begin_segment(stream);
	}
	block->nr_tags = 0;
	block->nr_index = 0;
	block->used = stream->end.tail_bytes;
	block->offset = stream->now.segment_bytes - block->used;
	memcpy(block->data, stream->end.tail, block->used);
	stream->block = block;
}

bool stream_fits(const struct stream *stream, const struct fwdcap_record *record)
{
	__u32 need = stream_record_bytes(stream, record);

	return stream->block->used + need <= stream->block_bytes &&
	       stream->block->nr_tags < BLOCK_TAGS && stream->block->nr_index < BLOCK_INDEX &&
	       !starts_segment(stream, need);
}

/*
 * abi.h: a new interval after so many bytes, and at the first record of every
 * second, but never between two records of one time.
 */
static bool opens_interval(const struct stream *stream, __u64 time_ns)
{
	const struct fwdcap_checkpoint *now = &stream->now;

	if (now->segment_tags == 0)
		return true;
	return time_ns != now->last_ns && (time_ns >= stream->next_index_ns ||
					   now->bytes - stream->entry_bytes >= FWDCAP_INDEX_BYTES);
}

static void add_index_entry(struct stream *stream, __u64 time_ns)
{
	struct fwdcap_checkpoint *now = &stream->now;

	stream->block->index[stream->block->nr_index++] = (struct fwdcap_index_entry){
		.first_ns = time_ns,
		.previous_ns = now->last_ns,
		.offset = now->segment_bytes,
		.packets = now->packets,
		.bytes = now->bytes,
	};
	now->segment_index++;
	stream->entry_bytes = now->bytes;
	if (time_ns >= stream->next_index_ns)
		stream->next_index_ns = next_whole_second(stream, time_ns);
}

/* Divides only when a new second has begun. */
static __u32 nanoseconds(struct stream *stream, __u64 time_ns)
{
	if (time_ns - stream->second_ns >= NS_PER_SECOND) {
		stream->second = (__u32)(time_ns / NS_PER_SECOND);
		stream->second_ns = time_ns - time_ns % NS_PER_SECOND;
	}
	return (__u32)(time_ns - stream->second_ns);
}

/* Records between the CPU's last one and @record, which is of @time_ns, are missing. */
static void note_gap(struct stream *stream, const struct fwdcap_record *record, __u64 time_ns)
{
	struct fwdcap_checkpoint *now = &stream->now;
	struct missing *missing = &stream->missing;

	if (!missing->since_ns)
		missing->since_ns = now->last_ns ? now->last_ns : time_ns;
	missing->records[record->cpu % now->nr_rings] +=
		record->sequence - now->next_sequence[record->cpu];
}

static void count(struct stream *stream, const struct fwdcap_record *record, __u32 caplen,
		  __u64 time_ns)
{
	__u32 bytes = (__u32)sizeof(struct fwdcap_pcap_record_header) + caplen;
	struct fwdcap_checkpoint *now = &stream->now;

	now->segment_bytes += bytes;
	now->segment_tags++;
	now->packets++;
	now->bytes += bytes;
	now->frame_bytes += caplen;
	if (record->sequence != now->next_sequence[record->cpu])
		note_gap(stream, record, time_ns);
	now->last_ns = time_ns;
	now->next_sequence[record->cpu] = record->sequence + 1;
}

void stream_append(struct stream *stream, const struct fwdcap_record *record, __u64 monotonic_ns)
{
	__u64 time_ns = monotonic_ns + stream->now.clock_offset_ns;
	__u32 caplen = stream_stored_length(stream, record);
	struct fwdcap_pcap_record_header header = {
		.caplen = caplen,
		.len = record->len,
	};
	struct block *block = stream->block;

	if (time_ns < stream->now.last_ns)
		time_ns = stream->now.last_ns;
	if (time_ns != record->monotonic_ns + stream->now.clock_offset_ns)
		stream->now.late_records++;
	if (!stream->now.first_ns) {
		stream->now.first_ns = time_ns;
		stream->next_index_ns = time_ns + FWDCAP_INDEX_NS;
	}
	if (opens_interval(stream, time_ns))
		add_index_entry(stream, time_ns);

	header.nanoseconds = nanoseconds(stream, time_ns);
	header.seconds = stream->second;
	memcpy(block->data + block->used, &header, sizeof(header));
	memcpy(block->data + block->used + sizeof(header), record + 1, caplen);
	block->used += sizeof(header) + caplen;
	block->tags[block->nr_tags++] = (struct fwdcap_tag){
		.route_id = record->route_id,
		.interface = record->interface,
		.mode_direction = (__u8)(record->mode | record->direction << 4),
		.flags = record->flags,
	};
	count(stream, record, caplen, time_ns);
}

void stream_let_go(struct stream *stream)
{
	struct block *block = stream->block;

	stream->end.tail_bytes = block->used % BLOCK_UNIT;
	memcpy(stream->end.tail, block->data + block->used - stream->end.tail_bytes,
	       stream->end.tail_bytes);
	block->commit = stream->now;
	stream->block = NULL;
}
