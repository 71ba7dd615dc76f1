/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records into the ring. A small frame is copied straight into it, at each
 * copy anew; a longer one into a scratch buffer first, and for further modes
 * only its first bytes, where all rewrites happen, are read again. Nothing
 * wakes the recorder: it polls. No room means a counted loss and a forwarded
 * packet.
 */
#ifndef FWDCAP_BPF_EMIT_H
#define FWDCAP_BPF_EMIT_H

#define RECORD_ALIGN 8
#define RINGBUF_HEADER 8
/* Ethernet, two tags, the longest IPv4 header, and TCP up to its checksum fit. */
#define REWRITTEN_BYTES 128

/* A record of the ring has a constant size, unless it is copied there from elsewhere. */
#define CHUNK_BYTES 64
#define WORD_BYTES 8

struct chunk {
	__u8 bytes[CHUNK_BYTES];
};

struct record1 {
	struct fwdcap_record record;
	struct chunk frame[1];
};

struct record2 {
	struct fwdcap_record record;
	struct chunk frame[2];
};

static __always_inline void fill_record(struct fwdcap_record *record, const struct packet *packet,
					const struct fwdcap_rule *rule, enum fwdcap_reason reason,
					__u32 cpu, __u32 caplen)
{
	record->len = packet->len;
	record->caplen = caplen;
	record->route_id = rule->route_id;
	record->cpu = cpu;
	record->interface = config.interface;
	record->direction = rule->direction;
	record->flags = reason == FWDCAP_FORWARDED ? 0 : FWDCAP_RECORD_DROPPED;
	record->l2_offset = packet->l2_offset;
	record->link_type = FWDCAP_LINKTYPE_ETHERNET;
}

/* How much of the frame is kept. */
static __always_inline __u32 captured_length(const struct packet *packet,
					     const struct fwdcap_capture_control *control)
{
	__u32 caplen = packet->len;

	if (control->snaplen && caplen > control->snaplen)
		caplen = control->snaplen;
	return caplen > FWDCAP_MAX_FRAME ? FWDCAP_MAX_FRAME : caplen;
}

/* Ask before copying: a full ring shall cost next to nothing. */
static __always_inline bool has_room(const struct emission *emission,
				     const struct fwdcap_capture_control *control)
{
	return emission->ring &&
	       bpf_ringbuf_query(emission->ring, BPF_RB_AVAIL_DATA) + emission->caplen +
			       sizeof(struct fwdcap_record) + RINGBUF_HEADER + RECORD_ALIGN <=
		       control->ring_bytes;
}

/* Leaves emission->cpu NULL unless a capture runs; modes 0 when the rule keeps no copy. */
static __always_inline void begin_emission(const struct packet *packet,
					   const struct fwdcap_rule *rule,
					   enum fwdcap_reason reason, struct emission *emission)
{
	__u32 cpu = bpf_get_smp_processor_id(), zero = 0, ring = 0;
	struct fwdcap_capture_control *control;
	struct fwdcap_record *record;

	__builtin_memset(emission, 0, sizeof(*emission));
	control = bpf_map_lookup_elem(&capture, &zero);
	if (!control || !control->active)
		return;
	emission->cpu = bpf_map_lookup_elem(&cpu_state, &cpu);
	emission->scratch = bpf_map_lookup_elem(&scratches, &cpu);
	if (!emission->cpu || !emission->scratch)
		return;
	emission->modes = rule->modes;
	if (!emission->modes)
		return;
	emission->cpu->received_packets++;
	if (control->nr_rings > 1)
		ring = cpu % control->nr_rings;
	emission->ring = bpf_map_lookup_elem(&rings, &ring);
	emission->caplen = captured_length(packet, control);
	emission->full = !has_room(emission, control);
	record = &emission->scratch->record;
	if (emission->full) {
		record->monotonic_ns = bpf_ktime_get_coarse_ns();
		return;
	}
	record->monotonic_ns = bpf_ktime_get_ns();
	fill_record(record, packet, rule, reason, cpu, emission->caplen);
}

/*
 * The frame's bytes from @offset on, as far as they are in one piece. A function
 * of its own, so that the verifier reads it once and not with every copy.
 */
__noinline int copy_chunk(struct xdp_md *ctx, struct chunk *to, __u32 offset)
{
	const __u8 *end = (const __u8 *)(long)ctx->data_end;
	const __u8 *from = (const __u8 *)(long)ctx->data;
	__u32 at = 0;

	if (!to || offset > CHUNK_BYTES)
		return -1;
	from += offset;
#pragma unroll
	for (int word = 0; word < CHUNK_BYTES / WORD_BYTES; word++) {
		if (from + at + WORD_BYTES > end)
			break;
		*(__u64 *)(to->bytes + at) = *(const __u64 *)(from + at);
		at += WORD_BYTES;
	}
#pragma unroll
	for (int byte = 0; byte < WORD_BYTES - 1; byte++) {
		if (at + byte >= CHUNK_BYTES || from + at + byte + 1 > end)
			break;
		to->bytes[at + byte] = from[at + byte];
	}
	return 0;
}

static __always_inline bool is_small(const struct xdp_md *ctx, const struct emission *emission)
{
	return emission->caplen <= sizeof(struct chunk[2]) &&
	       emission->caplen <= ctx->data_end - ctx->data;
}

/* Nothing can be wrong with a small frame but that there is no room. */
static __always_inline long output_small(struct xdp_md *ctx, struct emission *emission)
{
	struct record1 *one;
	struct record2 *two;

	if (emission->caplen <= CHUNK_BYTES) {
		one = bpf_ringbuf_reserve(emission->ring, sizeof(*one), 0);
		if (!one)
			return -1;
		one->record = emission->scratch->record;
		copy_chunk(ctx, &one->frame[0], 0);
		bpf_ringbuf_submit(one, BPF_RB_NO_WAKEUP);
		return 0;
	}
	two = bpf_ringbuf_reserve(emission->ring, sizeof(*two), 0);
	if (!two)
		return -1;
	two->record = emission->scratch->record;
	copy_chunk(ctx, &two->frame[0], 0);
	copy_chunk(ctx, &two->frame[1], CHUNK_BYTES);
	bpf_ringbuf_submit(two, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Makes the verifier see a bound that the compiler thinks it has proved already. */
static __always_inline __u32 verifiable(__u32 len)
{
	asm volatile("" : "+r"(len));
	return len;
}

static __always_inline long copy_frame(struct xdp_md *ctx, struct emission *emission)
{
	__u32 len = verifiable(emission->caplen);

	if (emission->copied && len > REWRITTEN_BYTES)
		return bpf_xdp_load_bytes(ctx, 0, emission->scratch->frame, REWRITTEN_BYTES);
	if (len < 1 || len > FWDCAP_MAX_FRAME)
		return -1;
	return bpf_xdp_load_bytes(ctx, 0, emission->scratch->frame, len);
}

static __always_inline long output(struct emission *emission)
{
	__u32 len = verifiable(emission->caplen);

	if (len > FWDCAP_MAX_FRAME)
		return -1;
	return bpf_ringbuf_output(emission->ring, emission->scratch,
				  sizeof(struct fwdcap_record) + len, BPF_RB_NO_WAKEUP);
}

static __always_inline void count_lost(struct emission *emission,
				       struct fwdcap_rule_counters *counters, __u32 index,
				       enum fwdcap_loss loss)
{
	__u64 now = emission->scratch->record.monotonic_ns;
	struct fwdcap_cpu_state *cpu = emission->cpu;

	cpu->lost_records[loss]++;
	if (!cpu->first_loss_ns)
		cpu->first_loss_ns = now;
	/* A full ring has the coarse clock, which may be behind an earlier loss. */
	if (now > cpu->last_loss_ns)
		cpu->last_loss_ns = now;
	counters->lost_packets[index]++;
}

/* Emit the frame as it is now, if the rule keeps this mode. */
static __always_inline void emit(struct xdp_md *ctx, struct emission *emission,
				 struct fwdcap_rule_counters *counters, enum fwdcap_mode mode)
{
	const __u32 index = mode == FWDCAP_MODE_INGRESS ? 0 : mode == FWDCAP_MODE_INLINE ? 1 : 2;
	struct fwdcap_cpu_state *cpu = emission->cpu;
	__u64 sequence;
	bool small;

	if (!(emission->modes & mode) || !cpu || !emission->scratch)
		return;
	sequence = cpu->next_sequence++;
	if (emission->full || !emission->ring)
		return count_lost(emission, counters, index, FWDCAP_LOSS_RING_FULL);
	emission->scratch->record.sequence = sequence;
	emission->scratch->record.mode = mode;
	small = is_small(ctx, emission);
	if (!small && copy_frame(ctx, emission))
		return count_lost(emission, counters, index, FWDCAP_LOSS_COPY);
	emission->copied = true;
	if (small ? output_small(ctx, emission) : output(emission)) {
		emission->full = true;
		return count_lost(emission, counters, index, FWDCAP_LOSS_RING_FULL);
	}
	cpu->emitted_records++;
	cpu->emitted_bytes += emission->caplen;
	counters->recorded_packets[index]++;
}

#endif
