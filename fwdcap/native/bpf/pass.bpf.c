// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Lets every frame through. veth delivers natively transmitted frames (XDP_TX)
 * only to a peer that runs an XDP program itself; in the lab this is that one.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int fwdcap_pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
