/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Address rewrites with incremental checksums (RFC 1624, equation 3). A sum
 * that was wrong on arrival leaves wrong by the same amount: evidence is kept.
 */
#ifndef FWDCAP_BPF_REWRITE_H
#define FWDCAP_BPF_REWRITE_H

static __always_inline __u16 update_checksum(__u16 checksum, __be32 old, __be32 new)
{
	__u32 sum = (__u16)~checksum;

	sum += (__u16)~(old & 0xffff) + (__u16)~(old >> 16);
	sum += (new & 0xffff) + (new >> 16);
	return ~fold(sum);
}

static __always_inline void update_checksums(struct packet *packet, __be32 old, __be32 new)
{
	packet->ip->check = update_checksum(packet->ip->check, old, new);
	if (!packet->l4_checksum)
		return;
	*packet->l4_checksum = update_checksum(*packet->l4_checksum, old, new);
	if (!*packet->l4_checksum && zero_is_no_checksum(packet->ip))
		*packet->l4_checksum = 0xffff;
}

static __always_inline void rewrite_destination(struct packet *packet,
						const struct fwdcap_rule *rule)
{
	__be32 new = *(__be32 *)rule->new_daddr_be;

	update_checksums(packet, packet->ip->daddr, new);
	packet->ip->daddr = new;
}

static __always_inline void rewrite_source(struct packet *packet, const struct fwdcap_rule *rule)
{
	__be32 new = *(__be32 *)rule->new_saddr_be;

	update_checksums(packet, packet->ip->saddr, new);
	packet->ip->saddr = new;
}

static __always_inline void rewrite_ttl(struct packet *packet, const struct fwdcap_rule *rule)
{
	struct iphdr *ip = packet->ip;
	__be16 old;

	if (!(rule->flags & FWDCAP_RULE_TTL_DECREMENT))
		return;
	old = *(__be16 *)&ip->ttl;
	ip->ttl--;
	ip->check = update_checksum(ip->check, old, *(__be16 *)&ip->ttl);
}

static __always_inline void unpack_mac(__u8 *mac, __u64 packed)
{
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		mac[i] = packed >> (8 * i);
}

static __always_inline void rewrite_macs(struct packet *packet, const struct fwdcap_rule *rule)
{
	unpack_mac(packet->eth->h_dest, rule->next_hop_dmac);
	unpack_mac(packet->eth->h_source, rule->next_hop_smac);
}

#endif
