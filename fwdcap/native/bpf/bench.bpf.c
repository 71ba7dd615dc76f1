// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The two ends of the benchmark: a generator run by BPF_PROG_TEST_RUN with live
 * frames, and a sink that counts what comes back.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define HEADER_WORDS 6

/* Set before loading: where frames go, and their first 48 bytes. */
const volatile struct {
	__u64 header[HEADER_WORDS];
	__u32 ifindex;
	__u32 reserved;
} settings = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} sunk SEC(".maps");

/* Pages are used again after the device under test has rewritten them. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u64 *word = (void *)(long)ctx->data;

	if ((void *)(word + HEADER_WORDS) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < HEADER_WORDS; i++)
		word[i] = settings.header[i];
	return bpf_redirect(settings.ifindex, 0);
}

static __always_inline void count(__u32 index, __u64 amount)
{
	__u64 *value = bpf_map_lookup_elem(&sunk, &index);

	if (value)
		*value += amount;
}

SEC("xdp.frags")
int sink(struct xdp_md *ctx)
{
	count(0, 1);
	count(1, bpf_xdp_get_buff_len(ctx));
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
