/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "scan/files.h"
#include "scan/say.h"
#include "scan/tags.h"

int tags_open(struct tags *tags, const struct plan_segment *segment)
{
	tags_close(tags);
	tags->path = segment->tags_path;
	tags->next = segment->first_tag;
	tags->begin = tags->end = 0;
	if (!tags->path)
		return 0;
	tags->fd = open_regular(tags->path);
	if (tags->fd >= 0)
		return 0;
	if (tags->fd == -ENOENT) {
		tags->fd = -1;
		return 0;
	}
	return refuse(tags->fd, "cannot open %s: %m", tags->path);
}

static int refill(struct tags *tags)
{
	ssize_t got = read_at(tags->fd, tags->buffer, sizeof(tags->buffer),
			      tags->next * sizeof(tags->buffer[0]));

	if (got < 0)
		return refuse((int)got, "cannot read %s: %m", tags->path);
	tags->begin = 0;
	tags->end = (size_t)got / sizeof(tags->buffer[0]);
	tags->next += tags->end;
	return 0;
}

int tags_join(struct tags *tags, struct batch *batch)
{
	int err;

	if (tags->fd < 0)
		return 0;
	for (size_t i = 0; i < batch->count; i++) {
		if (tags->begin == tags->end) {
			err = refill(tags);
			if (err || !tags->end)
				return err;
		}
		batch->records[i].tag = tags->buffer[tags->begin++];
		batch->records[i].tagged = true;
	}
	return 0;
}

void tags_close(struct tags *tags)
{
	if (tags->fd >= 0)
		close(tags->fd);
	tags->fd = -1;
}
