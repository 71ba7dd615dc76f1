// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A producer of records for the recorder's tests, never attached: each run
 * (BPF_PROG_TEST_RUN) writes one record to its CPU's ring, as the data path does,
 * from a frame that begins with the record wanted and goes on with its bytes.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* In .reserved of the record wanted: what is not taken as it stands. */
enum wanted {
	WANTED_AS_GIVEN = 0,  /* sequence, time and CPU are the test's */
	WANTED_COUNTED = 1,   /* as the data path numbers, times and counts; the
			       * frame begins with its sequence and CPU */
	WANTED_UNCOPIED = 2,  /* likewise, but lost: the frame could not be copied */
	WANTED_FORGOTTEN = 3, /* a number is used up and nothing says why */
};

struct scratch {
	struct fwdcap_record record;
	__u8 frame[FWDCAP_MAX_FRAME];
};

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

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fwdcap_cpu_state);
} cpu_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fwdcap_capture_control);
} capture SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline void lose(struct fwdcap_cpu_state *state, enum fwdcap_loss reason)
{
	__u64 now = bpf_ktime_get_ns();

	state->lost_records[reason]++;
	if (!state->first_loss_ns)
		state->first_loss_ns = now;
	state->last_loss_ns = now;
}

/* The frame says itself which record it is. */
static __always_inline void stamp(struct scratch *scratch)
{
	__builtin_memcpy(scratch->frame, &scratch->record.sequence, sizeof(__u64));
	__builtin_memcpy(scratch->frame + sizeof(__u64), &scratch->record.cpu, sizeof(__u16));
}

/* Whether there is still a record to write. */
static __always_inline int number(struct scratch *scratch, __u32 cpu)
{
	struct fwdcap_record *record = &scratch->record;
	__u16 wanted = record->reserved;
	struct fwdcap_cpu_state *state;

	record->reserved = 0;
	if (wanted == WANTED_AS_GIVEN)
		cpu = record->cpu;
	state = bpf_map_lookup_elem(&cpu_state, &cpu);
	if (!state)
		return 0;
	if (wanted == WANTED_AS_GIVEN) {
		state->next_sequence = record->sequence + 1;
		return 1;
	}
	record->sequence = state->next_sequence++;
	record->monotonic_ns = bpf_ktime_get_ns();
	record->cpu = (__u16)cpu;
	if (wanted == WANTED_UNCOPIED)
		lose(state, FWDCAP_LOSS_COPY);
	if (wanted == WANTED_COUNTED)
		stamp(scratch);
	return wanted == WANTED_COUNTED;
}

/* Makes the verifier see a bound that the compiler thinks it has proved already. */
static __always_inline __u32 bounded(__u32 len)
{
	asm volatile("" : "+r"(len));
	return len <= FWDCAP_MAX_FRAME ? len : FWDCAP_MAX_FRAME;
}

SEC("xdp.frags")
int emit(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id(), zero = 0, len;
	struct fwdcap_cpu_state *state = bpf_map_lookup_elem(&cpu_state, &cpu);
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &cpu);
	struct fwdcap_capture_control *control = bpf_map_lookup_elem(&capture, &zero);
	__u32 which = 0;
	void *ring;

	if (!state || !scratch || !control || !control->active)
		return XDP_PASS;
	if (bpf_xdp_load_bytes(ctx, 0, &scratch->record, sizeof(scratch->record)))
		return XDP_ABORTED;
	len = bounded((__u32)bpf_xdp_get_buff_len(ctx) - sizeof(scratch->record));
	if (len && bpf_xdp_load_bytes(ctx, sizeof(scratch->record), scratch->frame, len))
		return XDP_ABORTED;
	if (!number(scratch, cpu))
		return XDP_DROP;
	if (control->nr_rings > 1)
		which = scratch->record.cpu % control->nr_rings;
	ring = bpf_map_lookup_elem(&rings, &which);
	if (!ring)
		return XDP_ABORTED;
	if (bpf_ringbuf_output(ring, scratch, sizeof(scratch->record) + bounded(len),
			       BPF_RB_NO_WAKEUP)) {
		lose(state, FWDCAP_LOSS_RING_FULL);
		return XDP_DROP;
	}
	state->emitted_records++;
	state->emitted_bytes += scratch->record.caplen;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
