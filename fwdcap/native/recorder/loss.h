/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_LOSS_H
#define FWDCAP_LOSS_H

#include <stdbool.h>

#include "abi.h"

/*
 * What is missing, and why. How much is known from the gaps in each CPU's
 * sequence, and with the CPU its ring; the reasons come from the counters the
 * program keeps beside it. A reason is taken from the counters only once, so
 * the sums agree at the end.
 */
struct loss {
	const struct fwdcap_cpu_state *states; /* live, one per CPU */
	__u32 nr_cpus;
	struct fwdcap_cpu_state *before; /* of an earlier capture, or NULL */
};

/* Gaps found and not yet accounted for, by ring. */
struct missing {
	__u64 records[FWDCAP_MAX_RINGS];
	__u64 since_ns; /* UTC, of the record before the first of them; 0: none */
};

/* Remembers the counters as they stand: they belong to an earlier capture. */
int loss_remember_stale(struct loss *loss);

/* The next sequence of every CPU now; 0 if this capture never emitted. */
void loss_sequences(const struct loss *loss, __u64 *next_sequence);

/*
 * Adds what is @missing to @checkpoint and clears it; what the counters do not
 * explain is @rest.
 */
void loss_attribute(const struct loss *loss, struct fwdcap_checkpoint *checkpoint,
		    struct missing *missing, enum fwdcap_loss rest);

/*
 * Ends the stream at @end_sequence: what is between @checkpoint and that was
 * not written and will not be.
 */
void loss_conclude(const struct loss *loss, struct fwdcap_checkpoint *checkpoint,
		   const __u64 *end_sequence, enum fwdcap_loss rest);

/* Has losses of @ring begin at @first_ns (UTC) at the latest, and last until now. */
void loss_extend(struct fwdcap_checkpoint *checkpoint, __u32 ring, __u64 first_ns);

/*
 * Ends the stream at its last record: a gap is found by the record behind it,
 * so what the program lost after that one is not of this stream.
 */
void loss_curtail(struct fwdcap_checkpoint *checkpoint);

#endif
