/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_INTERFACES_H
#define FWDCAP_SCAN_INTERFACES_H

#include "scan/batch.h"
#include "scan/plan.h"

/* What a tag can invent; records beyond share the interface of the untagged. */
#define INTERFACES_MAX (1U << 16)

/* One (route, mode) of a stream. */
struct interface {
	__u32 route_id;
	__u32 mode;
	const struct plan_interface *plan; /* NULL: nobody named it */
	bool untagged;
	bool written;
	__u32 id; /* in the file, once written */
	__u64 delivered;
};

/* All of them: in order of appearance, found by hash (open addressing). */
struct interfaces {
	struct interface *items;
	size_t count;
	size_t room;
	__u32 *slots; /* position in items + 1, 0: free */
	size_t nr_slots; /* a power of two */
};

/* Those the plan names, in its order. */
int interfaces_init(struct interfaces *interfaces, const struct plan_stream *stream);

/* The interface of @record, a new one if need be; NULL: no memory. */
struct interface *interfaces_of(struct interfaces *interfaces, const struct record *record);

/* The interface of records without a tag; NULL: no memory. */
struct interface *interfaces_unknown(struct interfaces *interfaces);

void interfaces_free(struct interfaces *interfaces);

#endif
