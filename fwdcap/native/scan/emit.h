/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_EMIT_H
#define FWDCAP_SCAN_EMIT_H

#include "scan/batch.h"
#include "scan/options.h"
#include "scan/output.h"
#include "scan/plan.h"

/*
 * Writers of a format. Each of the calls returns 0 or -errno; they come in the
 * order open, then per stream begin, records, end; then close.
 */
struct emitter {
	int (*open)(struct output *output, const struct options *options, const struct plan *plan,
		    void **state);
	int (*begin)(void *state, const struct plan_stream *stream, __u32 link_type);
	int (*records)(void *state, const struct batch *batch);
	int (*end)(void *state);
	void (*close)(void *state);
};

/* Nanosecond pcap: one header, then the records as they are stored. */
extern const struct emitter emit_pcap;

/* pcapng: one section, an interface for each route and mode of each stream. */
extern const struct emitter emit_pcapng;

/* How much of @record is wanted. */
static inline __u32 wanted_caplen(const struct record *record, __u32 snaplen)
{
	return snaplen && record->caplen > snaplen ? snaplen : record->caplen;
}

#endif
