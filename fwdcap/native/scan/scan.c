/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "scan/say.h"
#include "scan/scan.h"

static void count(const struct batch *batch, __u64 *records, __u64 *bytes)
{
	*records += batch->count;
	for (size_t i = 0; i < batch->count; i++)
		*bytes += RECORD_HEADER_BYTES + batch->records[i].caplen;
}

static int say_output(int err)
{
	return err && err != -EPIPE ? refuse(err, "cannot write what was found: %m") : err;
}

/* Frames of other kinds would be taken for Ethernet by the compiled filters. */
static int check_link_type(const struct scan *scan, __u32 link_type)
{
	if (link_type != FWDCAP_LINKTYPE_ETHERNET && scan->predicate->nr_programs)
		return refuse(-EBADMSG, "%s is no Ethernet and cannot be filtered",
			      scan->reader.segment->path);
	return 0;
}

static int scan_batch(struct scan *scan)
{
	struct batch *batch = &scan->batch;
	int err;

	count(batch, &scan->read_records, &scan->read_bytes);
	err = tags_join(&scan->tags, batch);
	if (err)
		return err;
	err = predicate_keep(scan->predicate, batch);
	if (err)
		return refuse(err, "%s has no tags for all of its records, and they would decide",
			      scan->reader.segment->path);
	count(batch, &scan->matched_records, &scan->matched_bytes);
	return say_output(scan->emitter->records(scan->state, batch));
}

static int scan_segment(struct scan *scan)
{
	__u64 looked_at = scan->reader.position;
	int err;

	for (;;) {
		err = reader_next(&scan->reader, &scan->batch);
		if (err || !scan->batch.count)
			return err;
		err = scan_batch(scan);
		if (err)
			return err;
		/* A filter that lets nothing through would never notice. */
		if (looked_at != scan->reader.position && output_abandoned(scan->output))
			return -EPIPE;
		looked_at = scan->reader.position;
	}
}

/* Opens a segment, with its tags where somebody needs them. */
static int open_segment(struct scan *scan, const struct plan_segment *segment)
{
	struct plan_segment untagged = *segment;
	int err;

	err = reader_open(&scan->reader, segment);
	if (!err)
		err = check_link_type(scan, scan->reader.link_type);
	if (err)
		return err;
	if (!scan->predicate->needs_tags && scan->options->format == FORMAT_PCAP)
		untagged.tags_path = NULL;
	return tags_open(&scan->tags, &untagged);
}

static int scan_stream(struct scan *scan, const struct plan_stream *stream)
{
	__u32 link_type = FWDCAP_LINKTYPE_ETHERNET;
	int err = 0;

	predicate_stream(scan->predicate, stream);
	if (stream->nr_segments)
		err = open_segment(scan, &stream->segments[0]);
	if (err)
		return err;
	if (stream->nr_segments)
		link_type = scan->reader.link_type;
	err = say_output(scan->emitter->begin(scan->state, stream, link_type));
	for (size_t i = 0; i < stream->nr_segments && !err; i++) {
		if (i)
			err = open_segment(scan, &stream->segments[i]);
		if (!err && scan->reader.link_type != link_type)
			err = refuse(-EBADMSG, "%s has other frames than the segments before it",
				     stream->segments[i].path);
		if (!err)
			err = scan_segment(scan);
	}
	return err ? err : say_output(scan->emitter->end(scan->state));
}

int scan_run(struct scan *scan, size_t chunk_bytes)
{
	int err;

	scan->tags.fd = -1;
	err = reader_init(&scan->reader, chunk_bytes);
	if (!err)
		err = scan->emitter->open(scan->output, scan->options, scan->plan, &scan->state);
	if (err) {
		refuse(err, "cannot begin: %m");
		goto close;
	}
	for (size_t i = 0; i < scan->plan->nr_streams && !err; i++)
		err = scan_stream(scan, &scan->plan->streams[i]);
	if (err)
		/* What was found before goes out; the end of the format is left off. */
		output_flush(scan->output);
	else
		err = say_output(output_finish(scan->output));
close:
	scan->emitter->close(scan->state);
	tags_close(&scan->tags);
	reader_free(&scan->reader);
	return err;
}
