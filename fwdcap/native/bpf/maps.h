/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, all pinned by fwdcapd, and the read-only settings. */
#ifndef FWDCAP_BPF_MAPS_H
#define FWDCAP_BPF_MAPS_H

const volatile struct fwdcap_config config = {
	.next_hop_refresh_ns = 250000000,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FWDCAP_MAX_RULES);
	__type(key, struct fwdcap_rule_key4);
	__type(value, struct fwdcap_rule);
} rules4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FWDCAP_MAX_RULES);
	__type(key, __u32);
	__type(value, struct fwdcap_rule_counters);
} rule_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FWDCAP_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fwdcap_capture_control);
} capture SEC(".maps");

/* One entry per CPU; the loader sets how many. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fwdcap_cpu_state);
} cpu_state SEC(".maps");

/* A record while it is put together: larger than a per-CPU map may hold. */
struct scratch {
	struct fwdcap_record record;
	__u8 frame[FWDCAP_MAX_FRAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, FWDCAP_MAX_RINGS);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

#endif
