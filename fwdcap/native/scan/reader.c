/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scan/files.h"
#include "scan/reader.h"
#include "scan/say.h"

#define PAGE_BYTES 4096U
#define NS_PER_SECOND 1000000000U
/* What is left of a record that reaches into the next chunk is kept before it. */
#define LEAD_BYTES \
	((RECORD_HEADER_BYTES + FWDCAP_PCAP_SNAPLEN + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES)

int reader_init(struct reader *reader, size_t chunk_bytes)
{
	size_t capacity = (LEAD_BYTES + chunk_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

	*reader = (struct reader){ .chunk_bytes = chunk_bytes, .fd = -1 };
	reader->buffer = aligned_alloc(PAGE_BYTES, capacity);
	return reader->buffer ? 0 : -ENOMEM;
}

static int check_header(struct reader *reader)
{
	struct fwdcap_pcap_file_header header = {};
	ssize_t got = read_at(reader->fd, &header, sizeof(header), 0);

	if (got < 0)
		return refuse((int)got, "cannot read %s: %m", reader->segment->path);
	if ((size_t)got < sizeof(header) || header.magic != FWDCAP_PCAP_MAGIC_NS ||
	    header.version_major != 2 || header.version_minor != 4 ||
	    header.link_type > UINT16_MAX)
		return refuse(-EBADMSG, "%s is not a segment: it does not begin as one",
			      reader->segment->path);
	reader->link_type = header.link_type;
	return 0;
}

int reader_open(struct reader *reader, const struct plan_segment *segment)
{
	reader_close(reader);
	reader->segment = segment;
	reader->position = segment->offset;
	reader->begin = reader->end = LEAD_BYTES;
	reader->fd = open_regular(segment->path);
	if (reader->fd < 0)
		return refuse(reader->fd, "cannot open %s: %m", segment->path);
	posix_fadvise(reader->fd, (off_t)segment->offset, (off_t)segment->length,
		      POSIX_FADV_SEQUENTIAL);
	return check_header(reader);
}

static __u64 unread(const struct reader *reader)
{
	return reader->segment->offset + reader->segment->length - reader->position;
}

/* Reads the next chunk behind what is left of the one before. */
static int refill(struct reader *reader)
{
	size_t left = reader->end - reader->begin;
	size_t wanted = reader->chunk_bytes;
	ssize_t got;

	memmove(reader->buffer + LEAD_BYTES - left, reader->buffer + reader->begin, left);
	reader->begin = LEAD_BYTES - left;
	reader->end = LEAD_BYTES;
	if (wanted > unread(reader))
		wanted = (size_t)unread(reader);
	got = read_at(reader->fd, reader->buffer + LEAD_BYTES, wanted, reader->position);
	if (got < 0)
		return refuse((int)got, "cannot read %s: %m", reader->segment->path);
	if (got == 0)
		return refuse(-EBADMSG, "%s ends at %llu, %llu bytes too early",
			      reader->segment->path, (unsigned long long)reader->position,
			      (unsigned long long)unread(reader));
	reader->position += (size_t)got;
	reader->end += (size_t)got;
	return 0;
}

/* A record at @bytes, of which @available are there. 1: whole, 0: part of one, or -EBADMSG. */
static int decode(const unsigned char *bytes, size_t available, struct record *record)
{
	struct fwdcap_pcap_record_header header;

	if (available < sizeof(header))
		return 0;
	memcpy(&header, bytes, sizeof(header));
	if (!header.seconds || header.nanoseconds >= NS_PER_SECOND ||
	    header.caplen > FWDCAP_PCAP_SNAPLEN || header.caplen > header.len)
		return -EBADMSG;
	if (available - sizeof(header) < header.caplen)
		return 0;
	record->bytes = bytes;
	record->ns = (__u64)header.seconds * NS_PER_SECOND + header.nanoseconds;
	record->caplen = header.caplen;
	record->len = header.len;
	record->tagged = false;
	return 1;
}

/* Decodes what is buffered. A bad record ends it; alone in its batch it is the error. */
static int decode_buffered(struct reader *reader, struct batch *batch)
{
	struct record *record = batch->records;
	size_t begin = reader->begin, end = reader->end;
	int whole = 0;

	while (record < batch->records + BATCH_RECORDS) {
		whole = decode(reader->buffer + begin, end - begin, record);
		if (whole <= 0)
			break;
		begin += RECORD_HEADER_BYTES + record->caplen;
		record++;
	}
	reader->begin = begin;
	batch->count = (size_t)(record - batch->records);
	return batch->count || whole >= 0 ? 0 : whole;
}

int reader_next(struct reader *reader, struct batch *batch)
{
	int err;

	batch->count = 0;
	for (;;) {
		__u64 at = reader->position - (reader->end - reader->begin);

		err = decode_buffered(reader, batch);
		if (err)
			return refuse(err, "%s: what stands at %llu cannot be a record",
				      reader->segment->path, (unsigned long long)at);
		if (batch->count)
			return 0;
		if (!unread(reader))
			break;
		err = refill(reader);
		if (err)
			return err;
	}
	if (reader->begin != reader->end)
		return refuse(-EBADMSG, "%s: the record at %llu is cut off", reader->segment->path,
			      (unsigned long long)(reader->position - (reader->end - reader->begin)));
	return 0;
}

void reader_close(struct reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	reader->fd = -1;
}

void reader_free(struct reader *reader)
{
	reader_close(reader);
	free(reader->buffer);
	reader->buffer = NULL;
}
