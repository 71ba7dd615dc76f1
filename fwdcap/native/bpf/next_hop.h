/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a packet goes. The answer is cached in its rule and refreshed from the
 * kernel's own tables; while a refresh fails, the last good answer holds, so
 * that a flapping link or a dead daemon does not stop forwarding.
 */
#ifndef FWDCAP_BPF_NEXT_HOP_H
#define FWDCAP_BPF_NEXT_HOP_H

#define AF_INET 2

static __always_inline __u64 pack_mac(const __u8 *mac)
{
	return (__u64)mac[0] | (__u64)mac[1] << 8 | (__u64)mac[2] << 16 | (__u64)mac[3] << 24 |
	       (__u64)mac[4] << 32 | (__u64)mac[5] << 40;
}

static __always_inline void refresh_next_hop(struct xdp_md *ctx, struct fwdcap_rule *rule,
					     __u64 now)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.ifindex = rule->egress_ifindex,
		.ipv4_src = *(__be32 *)rule->new_saddr_be,
		.ipv4_dst = *(__be32 *)rule->new_daddr_be,
	};

	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT) ==
		    BPF_FIB_LKUP_RET_SUCCESS &&
	    fib.ifindex == rule->egress_ifindex) {
		rule->next_hop_mtu = fib.mtu_result;
		rule->next_hop_smac = pack_mac(fib.smac);
		rule->next_hop_dmac = pack_mac(fib.dmac);
		rule->next_hop_checked_ns = now;
	} else if (rule->next_hop_dmac) {
		rule->next_hop_checked_ns = now;
		count_reason(FWDCAP_NOTE_NEXT_HOP_STALE);
	}
}

static __always_inline enum fwdcap_reason check_size(const struct packet *packet,
						     const struct fwdcap_rule *rule)
{
	struct fwdcap_capture_control *control;
	__u32 zero = 0;

	if (packet->ip_len <= rule->next_hop_mtu)
		return FWDCAP_FORWARDED;
	/* ICMP fragmentation-needed goes here. */
	control = bpf_map_lookup_elem(&capture, &zero);
	if (control && control->interface_mtu && packet->ip_len > control->interface_mtu)
		return FWDCAP_DROP_SUPER_FRAME;
	return FWDCAP_DROP_TOO_BIG;
}

/* FWDCAP_FORWARDED: the rule's next hop is good for this packet. */
static __always_inline enum fwdcap_reason next_hop(struct xdp_md *ctx,
						   const struct packet *packet,
						   struct fwdcap_rule *rule)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	if (rule->action == FWDCAP_ACTION_DISABLED)
		return FWDCAP_DROP_DISABLED;
	if (rule->action != FWDCAP_ACTION_TRANSMIT)
		return FWDCAP_DROP_UNSUPPORTED;
	if ((rule->flags & FWDCAP_RULE_TTL_DECREMENT) && packet->ip->ttl <= 1)
		return FWDCAP_DROP_TTL;
	if (!rule->next_hop_dmac ||
	    (__s64)(now - rule->next_hop_checked_ns) >= (__s64)config.next_hop_refresh_ns)
		refresh_next_hop(ctx, rule, now);
	if (!rule->next_hop_dmac)
		return FWDCAP_DROP_NO_NEXT_HOP;
	return check_size(packet, rule);
}

#endif
