/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "scan/filter.h"
#include "scan/predicate.h"

int predicate_init(struct predicate *predicate, const struct options *options)
{
	int err = 0;

	*predicate = (struct predicate){ .options = options };
	for (size_t i = 0; i < options->nr_filters && !err; i++) {
		err = filter_compile(&predicate->programs[i], options->filters[i], i + 1);
		if (!err)
			predicate->nr_programs++;
	}
	return err;
}

void predicate_stream(struct predicate *predicate, const struct plan_stream *stream)
{
	const struct options *options = predicate->options;

	predicate->stream = stream;
	predicate->needs_tags = stream->nr_selected || options->modes ||
				options->direction != OPTIONS_ANY_DIRECTION;
}

static bool is_selected(const struct plan_stream *stream, __u32 route_id)
{
	size_t low = 0, high = stream->nr_selected;

	if (!high)
		return true;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (stream->selected[middle] <= route_id)
			low = middle;
		else
			high = middle;
	}
	return stream->selected[low] == route_id;
}

static bool tag_matches(const struct predicate *predicate, const struct record *record)
{
	const struct options *options = predicate->options;

	if (options->modes && !(options->modes & record_mode(record)))
		return false;
	if (options->direction != OPTIONS_ANY_DIRECTION &&
	    record_direction(record) != (unsigned int)options->direction)
		return false;
	return is_selected(predicate->stream, record->tag.route_id);
}

static bool frame_matches(const struct predicate *predicate, const struct record *record)
{
	struct pcap_pkthdr header = { .caplen = record->caplen, .len = record->len };

	for (size_t i = 0; i < predicate->nr_programs; i++)
		if (!pcap_offline_filter(&predicate->programs[i], &header, record_frame(record)))
			return false;
	return true;
}

int predicate_keep(const struct predicate *predicate, struct batch *batch)
{
	const struct options *options = predicate->options;
	size_t kept = 0;

	for (size_t i = 0; i < batch->count; i++) {
		const struct record *record = &batch->records[i];

		if (record->ns < options->start_ns || record->ns >= options->stop_ns)
			continue;
		if (predicate->needs_tags) {
			if (!record->tagged)
				return -ENODATA;
			if (!tag_matches(predicate, record))
				continue;
		}
		if (!frame_matches(predicate, record))
			continue;
		if (kept != i)
			batch->records[kept] = *record;
		kept++;
	}
	batch->count = kept;
	return 0;
}

void predicate_free(struct predicate *predicate)
{
	for (size_t i = 0; i < predicate->nr_programs; i++)
		pcap_freecode(&predicate->programs[i]);
	predicate->nr_programs = 0;
}
