/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scan/modes.h"
#include "scan/number.h"
#include "scan/plan.h"
#include "scan/say.h"

#define PLAN_MAX_BYTES (64U << 20)
#define PLAN_FIRST_BYTES (64U << 10)
#define FIELDS 8

struct line {
	size_t number;
	size_t nr_fields; /* after the first */
	char *fields[FIELDS];
};

struct kind {
	const char *name;
	size_t nr_fields;
	bool of_stream;
	int (*take)(struct plan *plan, struct plan_stream *stream, const struct line *line);
};

static int grow(void *array, size_t *count, size_t size, void *element)
{
	char **base = array;
	char *larger;

	if (!(*count & (*count - 1))) {
		larger = realloc(*base, (*count ? *count * 2 : 1) * size);
		if (!larger)
			return -ENOMEM;
		*base = larger;
	}
	memcpy(*base + *count * size, element, size);
	++*count;
	return 0;
}

static int take_stream(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	struct plan_stream next = { .name = line->fields[1] };

	(void)stream;
	return grow(&plan->streams, &plan->nr_streams, sizeof(next), &next);
}

static int take_hardware(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	(void)plan;
	stream->hardware = line->fields[1];
	return 0;
}

static int take_os(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	(void)plan;
	stream->os = line->fields[1];
	return 0;
}

static int take_application(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	(void)plan;
	stream->application = line->fields[1];
	return 0;
}

static int take_comment(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	const char *text = line->fields[1];

	(void)plan;
	return grow(&stream->comments, &stream->nr_comments, sizeof(text), &text);
}

static int take_select(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	__u64 value;
	__u32 id;

	(void)plan;
	if (parse_number(line->fields[1], UINT32_MAX, &value))
		return -EINVAL;
	id = (__u32)value;
	if (stream->nr_selected && stream->selected[stream->nr_selected - 1] >= id)
		return -EINVAL;
	return grow(&stream->selected, &stream->nr_selected, sizeof(id), &id);
}

static int parse_count(const char *text, __u64 *value)
{
	*value = PLAN_UNKNOWN;
	return strcmp(text, "-") ? parse_number(text, INT64_MAX, value) : 0;
}

static int take_interface(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	struct plan_interface interface = { .name = line->fields[5],
					    .description = line->fields[6] };
	__u64 id;

	(void)plan;
	interface.mode = (__u8)mode_of(line->fields[2]);
	if (parse_number(line->fields[1], UINT32_MAX, &id) || !interface.mode ||
	    parse_count(line->fields[3], &interface.received) ||
	    parse_count(line->fields[4], &interface.dropped))
		return -EINVAL;
	interface.route_id = (__u32)id;
	return grow(&stream->interfaces, &stream->nr_interfaces, sizeof(interface), &interface);
}

static int take_gap(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	struct plan_gap gap = { .text = line->fields[2] };

	(void)plan;
	if (parse_number(line->fields[1], UINT64_MAX, &gap.ns) ||
	    (stream->nr_gaps && stream->gaps[stream->nr_gaps - 1].ns > gap.ns))
		return -EINVAL;
	return grow(&stream->gaps, &stream->nr_gaps, sizeof(gap), &gap);
}

static int take_segment(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	struct plan_segment segment = { .path = line->fields[3] };

	(void)plan;
	if (parse_number(line->fields[1], INT64_MAX / 2, &segment.offset) ||
	    parse_number(line->fields[2], INT64_MAX / 2, &segment.length) ||
	    segment.offset < sizeof(struct fwdcap_pcap_file_header))
		return -EINVAL;
	return grow(&stream->segments, &stream->nr_segments, sizeof(segment), &segment);
}

static int take_tags(struct plan *plan, struct plan_stream *stream, const struct line *line)
{
	struct plan_segment *segment;

	(void)plan;
	if (!stream->nr_segments)
		return -EINVAL;
	segment = &stream->segments[stream->nr_segments - 1];
	if (segment->tags_path ||
	    parse_number(line->fields[1], INT64_MAX / 2 / sizeof(struct fwdcap_tag),
			 &segment->first_tag))
		return -EINVAL;
	segment->tags_path = line->fields[2];
	return 0;
}

static const struct kind kinds[] = {
	{ "stream", 1, false, take_stream },
	{ "hardware", 1, true, take_hardware },
	{ "os", 1, true, take_os },
	{ "application", 1, true, take_application },
	{ "comment", 1, true, take_comment },
	{ "select", 1, true, take_select },
	{ "interface", 6, true, take_interface },
	{ "gap", 2, true, take_gap },
	{ "segment", 3, true, take_segment },
	{ "tags", 2, true, take_tags },
};

static int take_line(struct plan *plan, const struct line *line)
{
	struct plan_stream *stream = plan->nr_streams ? &plan->streams[plan->nr_streams - 1] : NULL;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(line->fields[0], kinds[i].name))
			continue;
		if (line->nr_fields != kinds[i].nr_fields || (kinds[i].of_stream && !stream))
			return -EINVAL;
		return kinds[i].take(plan, stream, line);
	}
	return -EINVAL;
}

/* Splits the line at @text in place. Returns what follows it, NULL: not a line. */
static char *split_line(char *text, const char *end, struct line *line)
{
	char *field = text;

	line->nr_fields = 0;
	line->fields[0] = text;
	for (; text < end; text++) {
		if (*text == '\n' || *text == '\t') {
			if (text - field > PLAN_TEXT_BYTES)
				return NULL;
			field = text + 1;
		}
		if (*text == '\n') {
			*text = '\0';
			return field;
		}
		if (*text == '\t') {
			if (line->nr_fields + 1 == FIELDS)
				return NULL;
			*text = '\0';
			line->fields[++line->nr_fields] = field;
		} else if ((unsigned char)*text < ' ' || *text == 0x7f) {
			return NULL;
		}
	}
	return NULL;
}

static bool is_line(const struct line *line, const char *first, const char *second)
{
	return !strcmp(line->fields[0], first) && line->nr_fields == (second ? 1 : 0) &&
	       (!second || !strcmp(line->fields[1], second));
}

int plan_parse(struct plan *plan, char *text, size_t length)
{
	struct line line = {};
	const char *end = text + length;
	int err = 0;

	*plan = (struct plan){ .text = text };
	text = split_line(text, end, &line);
	line.number = 1;
	if (!text || !is_line(&line, "fwdcap-scan-plan", "1"))
		return refuse(-EINVAL, "what is on standard input is not a plan");
	while (!err) {
		text = split_line(text, end, &line);
		line.number++;
		if (text && is_line(&line, "end", NULL))
			break;
		err = text ? take_line(plan, &line) : -EINVAL;
	}
	if (!err && (text != end || !plan->nr_streams))
		err = -EINVAL;
	if (err)
		return refuse(err, "line %zu of the plan cannot be used: %m", line.number);
	return 0;
}

int plan_read(struct plan *plan, int fd)
{
	size_t capacity = PLAN_FIRST_BYTES, length = 0;
	char *text = malloc(capacity), *larger;
	ssize_t got;

	for (;;) {
		if (!text)
			return refuse(-ENOMEM, "cannot read the plan: %m");
		got = read(fd, text + length, capacity - length - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		length += (size_t)got;
		if (length < capacity - 1)
			continue;
		capacity *= 2;
		if (capacity > PLAN_MAX_BYTES) {
			free(text);
			return refuse(-EFBIG, "the plan is too long: %m");
		}
		larger = realloc(text, capacity);
		if (!larger)
			free(text);
		text = larger;
	}
	if (got < 0) {
		int err = -errno;

		free(text);
		return refuse(err, "cannot read the plan: %m");
	}
	text[length] = '\0';
	return plan_parse(plan, text, length);
}

void plan_free(struct plan *plan)
{
	for (size_t i = 0; i < plan->nr_streams; i++) {
		free(plan->streams[i].comments);
		free(plan->streams[i].selected);
		free(plan->streams[i].interfaces);
		free(plan->streams[i].gaps);
		free(plan->streams[i].segments);
	}
	free(plan->streams);
	free(plan->text);
	*plan = (struct plan){};
}
