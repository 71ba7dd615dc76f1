/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counters, and the verdicts that go with them. */
#ifndef FWDCAP_BPF_COUNT_H
#define FWDCAP_BPF_COUNT_H

#define DHCP_CLIENT_PORT 68
#define DHCPV6_CLIENT_PORT 546
#define PROTO_ICMPV6 58

/* What is known about the copies of one packet; see emit.h. */
struct emission {
	struct fwdcap_cpu_state *cpu; /* NULL: nothing to emit */
	struct scratch *scratch;
	void *ring;
	__u32 caplen;
	__u8 modes;
	bool copied;
	bool full; /* a copy found no room: do not try the others */
};

static __always_inline void count_reason(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&reasons, &reason);

	if (count)
		(*count)++;
}

static __always_inline struct fwdcap_rule_counters *find_counters(const struct fwdcap_rule *rule)
{
	__u32 slot = rule->slot;

	return bpf_map_lookup_elem(&rule_counters, &slot);
}

static __always_inline void count_matched(const struct packet *packet,
					  struct fwdcap_rule_counters *counters)
{
	counters->matched_packets++;
	counters->matched_bytes += packet->len;
	if (packet->unfinished)
		count_reason(FWDCAP_NOTE_UNFINISHED_CHECKSUM);
}

static __always_inline int finish_forwarded(const struct packet *packet,
					    struct fwdcap_rule_counters *counters)
{
	counters->forwarded_packets++;
	counters->forwarded_bytes += packet->len;
	return XDP_TX;
}

static __always_inline int finish_dropped(struct fwdcap_rule_counters *counters,
					  struct emission *emission, enum fwdcap_reason reason)
{
	counters->dropped_packets++;
	count_reason(reason);
	if (emission->cpu)
		emission->cpu->error_packets++;
	return XDP_DROP;
}

static __always_inline int finish_internal(void)
{
	count_reason(FWDCAP_DROP_INTERNAL);
	return XDP_DROP;
}

/* An unmatched IPv4 packet that the interface itself needs: DHCP's answers. */
static __always_inline bool is_dhcp(struct xdp_md *ctx, const struct packet *packet)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = packet->ip;
	__be16 *ports = (void *)(ip + 1);

	if (packet->network_proto != bpf_htons(ETH_P_IP) || (void *)(ports + 2) > data_end)
		return false;
	return ip->protocol == IPPROTO_UDP && ip->ihl == 5 &&
	       ports[1] == bpf_htons(DHCP_CLIENT_PORT);
}

/* Neighbour discovery, its ICMPv6 types 133 to 137 (RFC 4861), and DHCPv6. */
static __always_inline bool is_ipv6_upkeep(struct xdp_md *ctx, const struct packet *packet)
{
	void *data_end = (void *)(long)ctx->data_end;
	__u8 *ip6 = (void *)packet->ip;

	if (packet->network_proto != bpf_htons(ETH_P_IPV6) || (void *)(ip6 + 44) > data_end)
		return false;
	if (ip6[6] == PROTO_ICMPV6)
		return ip6[40] >= 133 && ip6[40] <= 137;
	return ip6[6] == IPPROTO_UDP && *(__be16 *)(ip6 + 42) == bpf_htons(DHCPV6_CLIENT_PORT);
}

/* Not ours: to the kernel's own stack, or dropped if the interface is told to. */
static __always_inline int finish_unmatched(struct xdp_md *ctx, const struct packet *packet,
					    enum fwdcap_reason reason)
{
	if (config.unmatched_drop && packet->network_proto != bpf_htons(ETH_P_ARP) &&
	    !is_dhcp(ctx, packet) && !is_ipv6_upkeep(ctx, packet)) {
		count_reason(FWDCAP_DROP_UNMATCHED);
		return XDP_DROP;
	}
	count_reason(reason);
	return XDP_PASS;
}

#endif
