// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The data path: one frame in, one verdict out.
 *
 *   parse            what is it?                              parse.h
 *   find_rule        one direction of a route                 maps.h
 *   next_hop         where does it go, is it small enough?    next_hop.h
 *   emit ingress     the bytes as received                    emit.h
 *   rewrite          destination, then source, then MACs      rewrite.h
 *   emit inline      between the two address rewrites
 *   emit egress      the bytes as sent
 *   finish           counters and verdict                     count.h
 *
 * Packets of any-client routes (ports as well as addresses), IPv6, ICMP errors
 * (looked up by the packet they quote, before the outer key) and MSS clamping
 * join at the marked places.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"
#include "parse.h"
#include "count.h"
#include "next_hop.h"
#include "emit.h"
#include "rewrite.h"

/* A frame of ours: keep the copies its rule asks for, rewrite it, send it on. */
static __always_inline int relay(struct xdp_md *ctx, struct packet *packet,
				 struct fwdcap_rule *rule, struct fwdcap_rule_counters *counters)
{
	enum fwdcap_reason reason = next_hop(ctx, packet, rule);
	struct emission emission;

	begin_emission(packet, rule, reason, &emission);
	emit(ctx, &emission, counters, FWDCAP_MODE_INGRESS);
	rewrite_destination(packet, rule);
	emit(ctx, &emission, counters, FWDCAP_MODE_INLINE);
	if (reason != FWDCAP_FORWARDED)
		return finish_dropped(counters, &emission, reason);

	rewrite_ttl(packet, rule);
	rewrite_source(packet, rule);
	/* MSS clamping goes here: SYN segments of a smaller egress MTU. */
	rewrite_macs(packet, rule);
	emit(ctx, &emission, counters, FWDCAP_MODE_EGRESS);
	return finish_forwarded(packet, counters);
}

SEC("xdp.frags")
int fwdcap(struct xdp_md *ctx)
{
	struct fwdcap_rule_counters *counters;
	struct packet packet = {};
	enum fwdcap_reason reason;
	struct fwdcap_rule *rule;

	reason = parse(ctx, &packet);
	if (reason != FWDCAP_FORWARDED)
		return finish_unmatched(ctx, &packet, reason);

	/* ICMP errors go here: find their rule by the packet they quote. */
	rule = find_rule(&packet);
	/* Any-client routes go here: longest prefix, then connection state. */
	if (!rule)
		return finish_unmatched(ctx, &packet, FWDCAP_PASS_NO_ROUTE);

	counters = find_counters(rule);
	if (!counters)
		return finish_internal();
	count_matched(&packet, counters);
	return relay(ctx, &packet, rule, counters);
}

char _license[] SEC("license") = "Dual BSD/GPL";
