/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "scan/interfaces.h"

#define FIRST_SLOTS 64
#define UNTAGGED_MODE 16 /* more than a tag can say */

static size_t slot_of(const struct interfaces *interfaces, __u32 route_id, __u32 mode)
{
	__u64 hash = ((__u64)route_id << 5 | mode) * 0x9e3779b97f4a7c15ULL;

	return (size_t)(hash >> 32) & (interfaces->nr_slots - 1);
}

/* The slot that holds (@route_id, @mode), or the free one it would go to. */
static __u32 *find(const struct interfaces *interfaces, __u32 route_id, __u32 mode)
{
	size_t at = slot_of(interfaces, route_id, mode);
	const struct interface *item;

	while (interfaces->slots[at]) {
		item = &interfaces->items[interfaces->slots[at] - 1];
		if (item->route_id == route_id && item->mode == mode)
			break;
		at = (at + 1) & (interfaces->nr_slots - 1);
	}
	return &interfaces->slots[at];
}

static int grow(struct interfaces *interfaces)
{
	size_t nr_slots = interfaces->nr_slots ? interfaces->nr_slots * 2 : FIRST_SLOTS;
	struct interface *items;
	__u32 *slots;

	items = realloc(interfaces->items, nr_slots / 2 * sizeof(*items));
	if (!items)
		return -ENOMEM;
	interfaces->items = items;
	slots = calloc(nr_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(interfaces->slots);
	interfaces->slots = slots;
	interfaces->nr_slots = nr_slots;
	interfaces->room = nr_slots / 2;
	for (size_t i = 0; i < interfaces->count; i++)
		*find(interfaces, items[i].route_id, items[i].mode) = (__u32)i + 1;
	return 0;
}

static struct interface *add(struct interfaces *interfaces, __u32 route_id, __u32 mode)
{
	struct interface *item;

	if (interfaces->count == interfaces->room && grow(interfaces))
		return NULL;
	item = &interfaces->items[interfaces->count];
	*item = (struct interface){ .route_id = route_id, .mode = mode };
	*find(interfaces, route_id, mode) = (__u32)++interfaces->count;
	return item;
}

static struct interface *get(struct interfaces *interfaces, __u32 route_id, __u32 mode)
{
	__u32 slot = *find(interfaces, route_id, mode);

	return slot ? &interfaces->items[slot - 1] : add(interfaces, route_id, mode);
}

int interfaces_init(struct interfaces *interfaces, const struct plan_stream *stream)
{
	struct interface *item;
	int err;

	*interfaces = (struct interfaces){};
	err = grow(interfaces);
	for (size_t i = 0; i < stream->nr_interfaces && !err; i++) {
		item = get(interfaces, stream->interfaces[i].route_id, stream->interfaces[i].mode);
		if (item)
			item->plan = &stream->interfaces[i];
		else
			err = -ENOMEM;
	}
	return err;
}

struct interface *interfaces_unknown(struct interfaces *interfaces)
{
	struct interface *item = get(interfaces, 0, UNTAGGED_MODE);

	if (item)
		item->untagged = true;
	return item;
}

struct interface *interfaces_of(struct interfaces *interfaces, const struct record *record)
{
	__u32 slot = 0;

	if (record->tagged)
		slot = *find(interfaces, record->tag.route_id, record_mode(record));
	if (slot)
		return &interfaces->items[slot - 1];
	if (record->tagged && interfaces->count < INTERFACES_MAX)
		return add(interfaces, record->tag.route_id, record_mode(record));
	return interfaces_unknown(interfaces);
}

void interfaces_free(struct interfaces *interfaces)
{
	free(interfaces->items);
	free(interfaces->slots);
	*interfaces = (struct interfaces){};
}
