/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to a typed packet: Ethernet, up to two tags, IPv4 (RFC 791), and
 * where the L4 checksum lies if this packet carries it.
 */
#ifndef FWDCAP_BPF_PARSE_H
#define FWDCAP_BPF_PARSE_H

#define MAX_TAGS 2
#define FRAGMENT_OFFSET 0x1fff
#define MORE_FRAGMENTS 0x2000
#define NO_CHECKSUM 0xffff
#define PROTO_UDPLITE 136
#define PROTO_DCCP 33

struct packet {
	struct ethhdr *eth;
	struct iphdr *ip;
	__u16 *l4_checksum;  /* NULL: none, or in another fragment */
	__u32 len;	     /* of the frame */
	__u16 network_proto; /* after the tags, big endian */
	__u16 ip_len;
	__u8 l2_offset;
	bool unfinished; /* the L4 checksum is a bare pseudo-header sum */
};

struct tag {
	__be16 control;
	__be16 proto;
};

static __always_inline bool is_tag(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Where an L4 checksum that covers the addresses lies in its header. */
static __always_inline __u32 checksum_offset(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
	case PROTO_UDPLITE:
	case PROTO_DCCP:
		return 6;
	default:
		return NO_CHECKSUM;
	}
}

/*
 * A zero of these protocols is no sum: "none" for UDP (RFC 768), illegal for
 * UDP-Lite (RFC 3828), where it stays the evidence it is.
 */
static __always_inline bool zero_is_no_checksum(const struct iphdr *ip)
{
	return ip->protocol == IPPROTO_UDP || ip->protocol == PROTO_UDPLITE;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* What a sender leaves in the field when it trusts hardware to finish. */
static __always_inline __u16 pseudo_header_sum(const struct iphdr *ip, __u32 l4_len)
{
	__u32 sum = (ip->saddr & 0xffff) + (ip->saddr >> 16) + (ip->daddr & 0xffff) +
		    (ip->daddr >> 16) + bpf_htons(ip->protocol) + bpf_htons(l4_len);

	return fold(sum);
}

/*
 * The checksum belongs to the fragment that holds its bytes, which for TCP cut
 * into eight-byte pieces is not the first one (RFC 1858 calls them tiny).
 */
static __always_inline bool locate_checksum(struct xdp_md *ctx, struct packet *packet,
					    __u32 header_len)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = packet->ip;
	__u32 offset = checksum_offset(ip->protocol);
	__u32 fragment = bpf_ntohs(ip->frag_off);
	__u32 skipped = (fragment & FRAGMENT_OFFSET) * 8;
	__u16 *field;

	if (offset == NO_CHECKSUM || offset < skipped)
		return true;
	offset += header_len - skipped;
	if (offset + 2 > packet->ip_len)
		return true;
	field = (void *)ip + (offset & 0xff);
	if ((void *)(field + 1) > data_end)
		return false;
	if (!*field && zero_is_no_checksum(ip))
		return true;
	packet->l4_checksum = field;
	if (!(fragment & (FRAGMENT_OFFSET | MORE_FRAGMENTS)))
		packet->unfinished =
			*field == pseudo_header_sum(ip, packet->ip_len - header_len);
	return true;
}

static __always_inline enum fwdcap_reason parse_ipv4(struct xdp_md *ctx, struct packet *packet)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = packet->ip;
	__u32 header_len;

	if ((void *)(ip + 1) > data_end)
		return FWDCAP_PASS_MALFORMED;
	header_len = ip->ihl * 4;
	packet->ip_len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header_len < sizeof(*ip) || packet->ip_len < header_len ||
	    packet->l2_offset + packet->ip_len > packet->len)
		return FWDCAP_PASS_MALFORMED;
	return locate_checksum(ctx, packet, header_len) ? FWDCAP_FORWARDED : FWDCAP_PASS_MALFORMED;
}

/* FWDCAP_FORWARDED means: go on. Anything else is for the kernel's own stack. */
static __always_inline enum fwdcap_reason parse(struct xdp_md *ctx, struct packet *packet)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct tag *tag = (void *)(eth + 1);
	__be16 proto;

	packet->len = bpf_xdp_get_buff_len(ctx);
	if ((void *)(eth + 1) > data_end)
		return FWDCAP_PASS_NOT_IP;
	proto = eth->h_proto;
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		if (!is_tag(proto))
			break;
		if ((void *)(tag + 1) > data_end)
			return FWDCAP_PASS_NOT_IP;
		proto = tag->proto;
		tag++;
	}
	packet->eth = eth;
	packet->network_proto = proto;
	packet->l2_offset = (void *)tag - (void *)eth;
	packet->ip = (void *)tag;
	if (eth->h_dest[0] & 1)
		return FWDCAP_PASS_GROUP_ADDRESS;
	/* IPv6 goes here. */
	if (proto != bpf_htons(ETH_P_IP))
		return FWDCAP_PASS_NOT_IP;
	return parse_ipv4(ctx, packet);
}

static __always_inline struct fwdcap_rule *find_rule(const struct packet *packet)
{
	struct fwdcap_rule_key4 key = {
		.interface = config.interface,
		.saddr_be = packet->ip->saddr,
		.daddr_be = packet->ip->daddr,
	};

	return bpf_map_lookup_elem(&rules4, &key);
}

#endif
