/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scan/emit.h"
#include "scan/say.h"

/* Records that follow each other in the store are written in one piece. */
struct pcap {
	struct output *output;
	__u32 snaplen;
	__u32 link_type;
	bool begun;
};

static int pcap_open(struct output *output, const struct options *options, const struct plan *plan,
		     void **state)
{
	struct pcap *pcap = calloc(1, sizeof(*pcap));

	(void)plan;
	if (!pcap)
		return -ENOMEM;
	pcap->output = output;
	pcap->snaplen = options->snaplen;
	*state = pcap;
	return 0;
}

static int pcap_begin(void *state, const struct plan_stream *stream, __u32 link_type)
{
	struct pcap *pcap = state;
	struct fwdcap_pcap_file_header header = {
		.magic = FWDCAP_PCAP_MAGIC_NS,
		.version_major = 2,
		.version_minor = 4,
		.snaplen = pcap->snaplen ? pcap->snaplen : FWDCAP_PCAP_SNAPLEN,
		.link_type = link_type,
	};
	int err;

	if (pcap->begun && pcap->link_type == link_type)
		return 0;
	if (pcap->begun)
		return refuse(-EBADMSG, "%s has other frames than the streams before it; "
			      "only pcapng can hold both", stream->name);
	pcap->begun = true;
	pcap->link_type = link_type;
	err = output_write(pcap->output, &header, sizeof(header));
	return err ? err : output_flush(pcap->output);
}

static size_t stored_bytes(const struct record *record)
{
	return RECORD_HEADER_BYTES + record->caplen;
}

static int write_cut(struct pcap *pcap, const struct record *record)
{
	struct fwdcap_pcap_record_header header;
	int err;

	memcpy(&header, record->bytes, sizeof(header));
	header.caplen = pcap->snaplen;
	err = output_write(pcap->output, &header, sizeof(header));
	return err ? err : output_write(pcap->output, record_frame(record), pcap->snaplen);
}

static int pcap_records(void *state, const struct batch *batch)
{
	struct pcap *pcap = state;
	const struct record *record = batch->records, *end = record + batch->count;
	const unsigned char *run;
	size_t bytes;
	int err = 0;

	while (record < end && !err) {
		if (wanted_caplen(record, pcap->snaplen) < record->caplen) {
			err = write_cut(pcap, record++);
			continue;
		}
		run = record->bytes;
		bytes = 0;
		do {
			bytes += stored_bytes(record++);
		} while (record < end && record->bytes == run + bytes &&
			 wanted_caplen(record, pcap->snaplen) == record->caplen);
		err = output_write(pcap->output, run, bytes);
	}
	return err;
}

static int pcap_end(void *state)
{
	(void)state;
	return 0;
}

static void pcap_close(void *state)
{
	free(state);
}

const struct emitter emit_pcap = {
	.open = pcap_open,
	.begin = pcap_begin,
	.records = pcap_records,
	.end = pcap_end,
	.close = pcap_close,
};
