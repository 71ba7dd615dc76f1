/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>

#include "scan/emit.h"
#include "scan/interfaces.h"
#include "scan/modes.h"
#include "scan/pcapng.h"

#define NANOSECONDS 9 /* if_tsresol: 10 to the power of minus this */
#define LIBPCAP_FILTER '\0'
#define EARLY_INTERFACES 64 /* written before the first record; of more, only those in use */
#define GAPS_TOGETHER 16    /* comments of one packet */
#define NAME_BYTES 48
#define FILTERS_BYTES 49152U
#define COMMENTS_BYTES (256U << 10)

struct pcapng {
	struct output *output;
	__u32 snaplen;
	char *filters; /* as an option's value; NULL: none that fit */
	size_t filters_bytes;

	const struct plan *plan;
	bool begun;
	__u32 next_id; /* of an interface */

	const struct plan_stream *stream;
	__u32 link_type;
	struct interfaces interfaces;
	size_t next_gap;
	__u64 last_ns;
};

/* The filters as one, for the interfaces' if_filter. */
static int join_filters(struct pcapng *pcapng, const struct options *options)
{
	size_t bytes = 1, used = 1;

	for (size_t i = 0; i < options->nr_filters; i++)
		bytes += strlen(options->filters[i]) + sizeof("() and ");
	if (!options->nr_filters || bytes > FILTERS_BYTES)
		return 0;
	pcapng->filters = malloc(bytes);
	if (!pcapng->filters)
		return -ENOMEM;
	pcapng->filters[0] = LIBPCAP_FILTER;
	for (size_t i = 0; i < options->nr_filters; i++)
		used += (size_t)sprintf(pcapng->filters + used,
					options->nr_filters > 1 ? "%s(%s)" : "%s%s",
					i ? " and " : "", options->filters[i]);
	pcapng->filters_bytes = used;
	return 0;
}

static int pcapng_open(struct output *output, const struct options *options,
		       const struct plan *plan, void **state)
{
	struct pcapng *pcapng = calloc(1, sizeof(*pcapng));

	*state = pcapng;
	if (!pcapng)
		return -ENOMEM;
	pcapng->output = output;
	pcapng->snaplen = options->snaplen;
	pcapng->plan = plan;
	return join_filters(pcapng, options);
}

/* Those of all streams, as many as fit; @block NULL: only adds up their length. */
static size_t put_comments(const struct plan *plan, struct block *block)
{
	size_t bytes = 0;

	for (size_t i = 0; i < plan->nr_streams; i++) {
		const struct plan_stream *stream = &plan->streams[i];

		for (size_t j = 0; j < stream->nr_comments; j++) {
			if (bytes + text_bytes(stream->comments[j]) > COMMENTS_BYTES)
				return bytes;
			bytes += text_bytes(stream->comments[j]);
			if (block)
				put_text(block, OPTION_COMMENT, stream->comments[j]);
		}
	}
	return bytes;
}

/*
 * One for all streams: tools that read several (tshark 4.0) take the interfaces
 * of the second for those of the first.
 */
static int write_section(struct pcapng *pcapng)
{
	const struct plan_stream *stream = pcapng->stream;
	const __u16 version[2] = { 1, 0 };
	const __u64 length = PCAPNG_LENGTH_UNKNOWN;
	struct block block;
	unsigned char *at;
	int err;

	at = output_room(pcapng->output,
			 64 + text_bytes(stream->hardware) + text_bytes(stream->os) +
				 text_bytes(stream->application) +
				 put_comments(pcapng->plan, NULL), &err);
	if (!at)
		return err;
	block = block_begin(at, PCAPNG_SECTION);
	put_u32(&block, PCAPNG_BYTE_ORDER);
	put(&block, version, sizeof(version));
	put(&block, &length, sizeof(length));
	put_text(&block, SECTION_HARDWARE, stream->hardware);
	put_text(&block, SECTION_OS, stream->os);
	put_text(&block, SECTION_APPLICATION, stream->application);
	put_comments(pcapng->plan, &block);
	put_u32(&block, OPTION_END);
	output_put(pcapng->output, block_end(&block));
	return 0;
}

/* What an interface is called that the plan does not name. */
static const char *name_of(const struct interface *interface, char *name)
{
	if (interface->plan)
		return interface->plan->name;
	if (interface->untagged)
		return "unknown";
	snprintf(name, NAME_BYTES, "route-%u/%s", interface->route_id,
		 mode_name(interface->mode));
	return name;
}

static int write_interface(struct pcapng *pcapng, struct interface *interface)
{
	const __u16 link_type[2] = { (__u16)pcapng->link_type, 0 };
	const unsigned char resolution = NANOSECONDS;
	const char *description = interface->plan ? interface->plan->description : NULL;
	char space[NAME_BYTES];
	const char *name = name_of(interface, space);
	struct block block;
	unsigned char *at;
	int err;

	at = output_room(pcapng->output,
			 64 + text_bytes(name) + text_bytes(description) +
				 option_bytes(pcapng->filters_bytes), &err);
	if (!at)
		return err;
	block = block_begin(at, PCAPNG_INTERFACE);
	put(&block, link_type, sizeof(link_type));
	/* The same for all: libpcap refuses a file whose interfaces differ in it. */
	put_u32(&block, pcapng->snaplen ? pcapng->snaplen : FWDCAP_PCAP_SNAPLEN);
	put_text(&block, INTERFACE_NAME, name);
	put_text(&block, INTERFACE_DESCRIPTION, description);
	put_option(&block, INTERFACE_TSRESOL, &resolution, sizeof(resolution));
	if (pcapng->filters)
		put_option(&block, INTERFACE_FILTER, pcapng->filters, pcapng->filters_bytes);
	put_u32(&block, OPTION_END);
	output_put(pcapng->output, block_end(&block));
	interface->id = pcapng->next_id++;
	interface->written = true;
	return 0;
}

static int pcapng_begin(void *state, const struct plan_stream *stream, __u32 link_type)
{
	struct pcapng *pcapng = state;
	struct interfaces *interfaces = &pcapng->interfaces;
	int err;

	pcapng->stream = stream;
	pcapng->link_type = link_type;
	pcapng->next_gap = 0;
	pcapng->last_ns = 0;
	interfaces_free(interfaces);
	err = interfaces_init(interfaces, stream);
	if (!err && !pcapng->begun)
		err = write_section(pcapng);
	pcapng->begun = true;
	if (interfaces->count <= EARLY_INTERFACES)
		for (size_t i = 0; i < interfaces->count && !err; i++)
			err = write_interface(pcapng, &interfaces->items[i]);
	return err ? err : output_flush(pcapng->output);
}

/* How many gaps begin at or before @ns and are not said yet. */
static size_t due_gaps(const struct pcapng *pcapng, __u64 ns)
{
	const struct plan_stream *stream = pcapng->stream;
	size_t due = 0;

	while (pcapng->next_gap + due < stream->nr_gaps &&
	       stream->gaps[pcapng->next_gap + due].ns <= ns)
		due++;
	return due;
}

static const struct plan_gap *next_gap(const struct pcapng *pcapng, size_t ahead)
{
	return &pcapng->stream->gaps[pcapng->next_gap + ahead];
}

/* Says the next @due gaps; of too many, how many more there are. */
static void put_gaps(struct pcapng *pcapng, struct block *block, size_t due)
{
	size_t said = due > GAPS_TOGETHER ? GAPS_TOGETHER : due;
	char more[NAME_BYTES];

	for (size_t i = 0; i < said; i++)
		put_text(block, OPTION_COMMENT, next_gap(pcapng, i)->text);
	if (said < due) {
		snprintf(more, sizeof(more), "and %zu more gaps", due - said);
		put_text(block, OPTION_COMMENT, more);
	}
	pcapng->next_gap += due;
}

static size_t gaps_bytes(const struct pcapng *pcapng, size_t due)
{
	size_t bytes = due ? option_bytes(NAME_BYTES) : 0;

	for (size_t i = 0; i < due && i < GAPS_TOGETHER; i++)
		bytes += text_bytes(next_gap(pcapng, i)->text);
	return bytes;
}

/* Which way, and what became of a packet that was not forwarded. */
static void put_fate(struct block *block, const struct record *record)
{
	unsigned char verdict[1 + sizeof(__u64)] = { VERDICT_XDP };
	const __u64 dropped = XDP_DROP;
	__u32 flags;

	if (!record->tagged)
		return;
	flags = record_direction(record) == FWDCAP_DIRECTION_TO_SERVER ? PACKET_OUTBOUND :
									 PACKET_INBOUND;
	put_option(block, PACKET_FLAGS, &flags, sizeof(flags));
	if (record->tag.flags & FWDCAP_RECORD_DROPPED) {
		memcpy(verdict + 1, &dropped, sizeof(dropped));
		put_option(block, PACKET_VERDICT, verdict, sizeof(verdict));
	}
}

static int write_packet(struct pcapng *pcapng, const struct interface *interface,
			const struct record *record)
{
	__u32 caplen = wanted_caplen(record, pcapng->snaplen);
	size_t due = due_gaps(pcapng, record->ns);
	struct block block;
	unsigned char *at;
	int err;

	at = output_room(pcapng->output, 96 + padded(caplen) + gaps_bytes(pcapng, due), &err);
	if (!at)
		return err;
	block = block_begin(at, PCAPNG_PACKET);
	put_u32(&block, interface->id);
	put_time(&block, record->ns);
	put_u32(&block, caplen);
	put_u32(&block, record->len);
	put(&block, record_frame(record), caplen);
	put_padding(&block, caplen);
	if (due)
		put_gaps(pcapng, &block, due);
	put_fate(&block, record);
	put_u32(&block, OPTION_END);
	output_put(pcapng->output, block_end(&block));
	return 0;
}

static int pcapng_records(void *state, const struct batch *batch)
{
	struct pcapng *pcapng = state;
	struct interface *interface;
	int err = 0;

	for (size_t i = 0; i < batch->count && !err; i++) {
		interface = interfaces_of(&pcapng->interfaces, &batch->records[i]);
		if (!interface)
			return -ENOMEM;
		if (!interface->written)
			err = write_interface(pcapng, interface);
		if (!err)
			err = write_packet(pcapng, interface, &batch->records[i]);
		interface->delivered++;
		pcapng->last_ns = batch->records[i].ns;
	}
	return err;
}

/* In a stream that was rolled the counts are estimates, a few records off. */
static __u64 received(const struct interface *interface)
{
	const struct plan_interface *plan = interface->plan;
	__u64 least = interface->delivered;

	if (plan->dropped != PLAN_UNKNOWN)
		least += plan->dropped;
	return plan->received > least ? plan->received : least;
}

static int write_statistics(struct pcapng *pcapng, const struct interface *interface)
{
	const struct plan_interface *plan = interface->plan;
	size_t due = due_gaps(pcapng, UINT64_MAX);
	struct block block;
	unsigned char *at;
	int err;

	at = output_room(pcapng->output, 128 + gaps_bytes(pcapng, due), &err);
	if (!at)
		return err;
	block = block_begin(at, PCAPNG_STATISTICS);
	put_u32(&block, interface->id);
	put_time(&block, pcapng->last_ns);
	/* What was lost after the last packet has no packet to be said at. */
	put_gaps(pcapng, &block, due);
	if (plan && plan->received != PLAN_UNKNOWN)
		put_count(&block, STATISTICS_RECEIVED, received(interface));
	if (plan && plan->dropped != PLAN_UNKNOWN)
		put_count(&block, STATISTICS_DROPPED, plan->dropped);
	put_count(&block, STATISTICS_ACCEPTED, interface->delivered);
	put_count(&block, STATISTICS_DELIVERED, interface->delivered);
	put_u32(&block, OPTION_END);
	output_put(pcapng->output, block_end(&block));
	return 0;
}

static bool has_losses(const struct interface *interface)
{
	return interface->plan && interface->plan->dropped != PLAN_UNKNOWN &&
	       interface->plan->dropped;
}

static int pcapng_end(void *state)
{
	struct pcapng *pcapng = state;
	struct interface *interface;
	int err = 0;

	/* A file without any interface is not opened by libpcap. */
	if (!pcapng->interfaces.count && !pcapng->next_id &&
	    !interfaces_unknown(&pcapng->interfaces))
		return -ENOMEM;
	for (size_t i = 0; i < pcapng->interfaces.count && !err; i++) {
		interface = &pcapng->interfaces.items[i];
		if (!interface->written && (has_losses(interface) || !pcapng->next_id))
			err = write_interface(pcapng, interface);
		if (!err && interface->written)
			err = write_statistics(pcapng, interface);
	}
	return err;
}

static void pcapng_close(void *state)
{
	struct pcapng *pcapng = state;

	if (!pcapng)
		return;
	interfaces_free(&pcapng->interfaces);
	free(pcapng->filters);
	free(pcapng);
}

const struct emitter emit_pcapng = {
	.open = pcapng_open,
	.begin = pcapng_begin,
	.records = pcapng_records,
	.end = pcapng_end,
	.close = pcapng_close,
};
