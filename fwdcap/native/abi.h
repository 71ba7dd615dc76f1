/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only OR BSD-2-Clause
 *
 * The contract between the BPF program, the recorder, and Python.
 *
 * Everything that crosses a process border has its one definition here: map
 * values, ring records, the files of the store. fwdcap/abi.py is generated from
 * this file (python -m fwdcap.native.generate_abi) and a test compares the two.
 * A change of any layout raises FWDCAP_ABI; the pins of each generation live
 * in their own directory, so old and new never share a map.
 *
 * All integers are in host byte order unless their name ends in _be.
 */
#ifndef FWDCAP_ABI_H
#define FWDCAP_ABI_H

#ifndef __bpf__
#include <stdint.h>
#include <linux/types.h>
#endif

#define FWDCAP_ABI 1

#define FWDCAP_MAX_RULES 32768	  /* two per route */
#define FWDCAP_MAX_CPUS 512	  /* size of the checkpoint's table */
#define FWDCAP_MAX_RINGS 64	  /* size of the map of rings */
#define FWDCAP_MAX_FRAME 65535	  /* as much as bpf_xdp_load_bytes copies at once */
#define FWDCAP_LINKTYPE_ETHERNET 1 /* tcpdump.org/linktypes.html */

/* ---- rules -------------------------------------------------------------- */

struct fwdcap_rule_key4 {
	__u32 interface; /* slot of the capture interface, not an ifindex */
	__u32 saddr_be;
	__u32 daddr_be;
};

/* What happens to a packet that matches a rule. */
enum fwdcap_action {
	FWDCAP_ACTION_TRANSMIT = 0,  /* rewrite, send by the interface it came from */
	FWDCAP_ACTION_REDIRECT = 1,  /* rewrite, send by another interface */
	FWDCAP_ACTION_DISABLED = 2,  /* a disabled route: drop with that reason */
	FWDCAP_ACTION_TRANSLATE = 3, /* any-client routes: ports as well */
	FWDCAP_ACTION_RETURN = 4,    /* GENEVE load balancer: swap and return */
	FWDCAP_ACTION_INGEST = 5,    /* mirror target: keep a copy, forward nothing */
};

/* Capture modes, as bits; a rule holds any set of them. */
enum fwdcap_mode {
	FWDCAP_MODE_INGRESS = 1,
	FWDCAP_MODE_INLINE = 2,
	FWDCAP_MODE_EGRESS = 4,
};

enum fwdcap_direction {
	FWDCAP_DIRECTION_TO_SERVER = 0,
	FWDCAP_DIRECTION_TO_CLIENT = 1,
};

enum fwdcap_rule_flag {
	FWDCAP_RULE_TTL_DECREMENT = 1,
};

/*
 * One direction of a route. The first part is written by fwdcapd and only read
 * by the program; the next hop is a cache the program owns. MAC addresses are
 * kept in one 64-bit word (first octet in the lowest byte) so that no reader
 * on another CPU ever sees half of one.
 */
struct fwdcap_rule {
	__u8 new_saddr_be[16]; /* IPv4 in the first four bytes */
	__u8 new_daddr_be[16];
	__u32 route_id;
	__u32 slot;	       /* index into the rule counters */
	__u32 egress_ifindex;  /* interface that owns the new source address */
	__u8 action;	       /* enum fwdcap_action */
	__u8 modes;	       /* enum fwdcap_mode, or-ed */
	__u8 direction;	       /* enum fwdcap_direction */
	__u8 flags;	       /* enum fwdcap_rule_flag, or-ed */

	__u64 next_hop_checked_ns; /* CLOCK_MONOTONIC of the last look-up */
	__u64 next_hop_dmac;	   /* 0: never resolved */
	__u64 next_hop_smac;
	__u32 next_hop_mtu;
	__u32 reserved;
};

struct fwdcap_rule_counters {
	__u64 matched_packets;
	__u64 matched_bytes;
	__u64 forwarded_packets;
	__u64 forwarded_bytes;
	__u64 dropped_packets;
	__u64 recorded_packets[3]; /* by mode: ingress, inline, egress */
	__u64 lost_packets[3];
	__u64 reserved[5];
};

/*
 * Why a frame was not forwarded, or what was odd about one that was.
 * PASS: handed to the kernel's own stack. DROP: matched and not forwarded.
 * NOTE: forwarded all the same.
 */
enum fwdcap_reason {
	FWDCAP_FORWARDED = 0,
	FWDCAP_PASS_NOT_IP = 1,
	FWDCAP_PASS_NO_ROUTE = 2,
	FWDCAP_PASS_MALFORMED = 3,
	FWDCAP_DROP_UNMATCHED = 4,   /* [interface] unmatched = "drop" */
	FWDCAP_DROP_DISABLED = 5,
	FWDCAP_DROP_NO_NEXT_HOP = 6, /* never resolved */
	FWDCAP_DROP_TOO_BIG = 7,     /* larger than the MTU towards the next hop */
	FWDCAP_DROP_SUPER_FRAME = 8, /* larger than the interface's MTU: sender's segmentation offload */
	FWDCAP_DROP_TTL = 9,
	FWDCAP_DROP_UNSUPPORTED = 10, /* a rule this program cannot carry out */
	FWDCAP_DROP_INTERNAL = 11,    /* a step after the match failed */
	FWDCAP_NOTE_NEXT_HOP_STALE = 12,      /* refresh failed, last good MAC used */
	FWDCAP_NOTE_UNFINISHED_CHECKSUM = 13, /* sender's checksum offload */
	FWDCAP_PASS_GROUP_ADDRESS = 14, /* broadcast or multicast frame */
	FWDCAP_REASONS = 15,
};

/* Why a record was lost. */
enum fwdcap_loss {
	FWDCAP_LOSS_RING_FULL = 0,
	FWDCAP_LOSS_COPY = 1,	  /* the frame could not be copied */
	FWDCAP_LOSS_DISK = 2,	  /* counted by the recorder */
	FWDCAP_LOSS_UNKNOWN = 3,  /* a gap in the sequence nothing else explains */
	FWDCAP_LOSSES = 4,
};

/* ---- settings ----------------------------------------------------------- */

/* The program's read-only data, set before it is loaded; the verifier prunes by it. */
struct fwdcap_config {
	__u64 next_hop_refresh_ns;
	__u32 interface; /* slot, first part of every key */
	__u32 unmatched_drop;
};

/* ---- capture ------------------------------------------------------------ */

/* The one entry of map `capture`, written by fwdcapd. */
struct fwdcap_capture_control {
	__u32 active;	 /* 0: emit nothing */
	__u32 snaplen;	 /* 0: whole frames */
	__u32 nr_rings;	 /* a CPU emits into ring cpu % nr_rings; 0 is 1 */
	__u32 interface_mtu; /* of the capture interface, 0: unknown */
	__u64 ring_bytes;    /* size of each ring */
};

/*
 * One entry per CPU of map `cpu_state`, memory-mapped by its readers and
 * written by the program on that CPU only, while a capture is active. fwdcapd
 * clears it before it activates a capture.
 */
struct fwdcap_cpu_state {
	__u64 next_sequence;	  /* of the next record, lost ones counted */
	__u64 received_packets;	  /* matched a rule with at least one mode */
	__u64 error_packets;	  /* matched, not forwarded */
	__u64 emitted_records;
	__u64 emitted_bytes;	  /* caplen, without any header */
	__u64 lost_records[FWDCAP_LOSSES];
	__u64 first_loss_ns;	  /* CLOCK_MONOTONIC, 0: none */
	__u64 last_loss_ns;
	__u64 reserved[5];
};

enum fwdcap_record_flag {
	FWDCAP_RECORD_DROPPED = 1, /* this packet was not forwarded */
};

/* Head of a ring record; caplen bytes of frame follow, and maybe some of no meaning. */
struct fwdcap_record {
	__u64 sequence;	    /* per CPU; advances also when a record is lost */
	__u64 monotonic_ns; /* the same for all copies of one packet */
	__u32 len;	    /* frame length */
	__u32 caplen;
	__u32 route_id;
	__u16 cpu;
	__u16 interface;
	__u8 mode;	/* one enum fwdcap_mode */
	__u8 direction; /* enum fwdcap_direction */
	__u8 flags;	/* enum fwdcap_record_flag */
	__u8 l2_offset; /* where the network header begins */
	__u16 link_type;
	__u16 reserved;
};

/* ---- store -------------------------------------------------------------- */

/* Nanosecond pcap (draft-ietf-opsawg-pcap), host byte order. */
#define FWDCAP_PCAP_MAGIC_NS 0xa1b23c4d
#define FWDCAP_PCAP_SNAPLEN 262144 /* written in the file header */

struct fwdcap_pcap_file_header {
	__u32 magic;
	__u16 version_major; /* 2 */
	__u16 version_minor; /* 4 */
	__u32 reserved1;
	__u32 reserved2;
	__u32 snaplen;
	__u32 link_type;
};

struct fwdcap_pcap_record_header {
	__u32 seconds;
	__u32 nanoseconds;
	__u32 caplen;
	__u32 len;
};

/* One entry of NNNNNN.tags, for the record of the same number. */
struct fwdcap_tag {
	__u32 route_id;
	__u16 interface;
	__u8 mode_direction; /* mode in the low four bits, direction in the high */
	__u8 flags;
};

/* A new index entry at every this many bytes of records … */
#define FWDCAP_INDEX_BYTES 262144
/* … and at the first record of every second counted from the stream's first. */
#define FWDCAP_INDEX_NS 1000000000

/*
 * One entry of NNNNNN.index, written when its interval begins. The interval
 * ends where the next entry's begins, or at the checkpoint's position.
 */
struct fwdcap_index_entry {
	__u64 first_ns;	   /* UTC, the first record of the interval */
	__u64 previous_ns; /* UTC, the record before it; 0 at the stream's first */
	__u64 offset;	   /* of that first record in NNNNNN.pcap */
	__u64 packets;	   /* in the whole stream before it */
	__u64 bytes;	   /* likewise, record headers included, file headers not */
};

/* What a stream's recorder is doing. */
enum fwdcap_recorder_state {
	FWDCAP_RECORDER_RUNNING = 1,
	FWDCAP_RECORDER_COMPLETE = 2, /* drained, truncated, closed */
	FWDCAP_RECORDER_FAILED = 3,   /* error says why; what is committed is sealed */
};

/* Why a stream came to its end. */
enum fwdcap_end_reason {
	FWDCAP_END_NONE = 0,	    /* it has not */
	FWDCAP_END_SIGNAL = 1,	    /* SIGTERM: all that was emitted by then is in it */
	FWDCAP_END_MAX_BYTES = 2,   /* the next record would not have fitted */
	FWDCAP_END_MAX_PACKETS = 3,
	FWDCAP_END_MAX_SECONDS = 4, /* holds what is older than ended_ns */
	FWDCAP_END_ROLL = 5,	    /* likewise; the rest waits in the rings for --continue */
	FWDCAP_END_DISK = 6,	    /* state is FAILED, error says why */
};

#define FWDCAP_CHECKPOINT_MAGIC 0x7470636863647766ULL /* "fwdcchpt" */
#define FWDCAP_CHECKPOINT_SLOT 8192

/*
 * `checkpoint` holds two slots of FWDCAP_CHECKPOINT_SLOT bytes, written in
 * turn; the valid one with the higher generation counts. It is written before
 * ring space is released, so whatever it covers is on disk once and whatever
 * it does not is still in a ring. It is also the recorder's only report.
 *
 * What the stream saw is sum(next_sequence) - begun_sequence, and at its end
 *
 *	sum(next_sequence) - begun_sequence = packets + sum(lost_records)
 *
 * The counters of map `cpu_state` count on after a stream that ended by a cap
 * or a roll: what was emitted or lost since belongs to the next stream or to
 * nobody. So the account of such a stream is made from its checkpoint alone.
 *
 * heartbeat_ns is set by the thread that writes, for every block the thread
 * that reads the rings has handed over, at least once a second: when either of
 * them hangs it stops. The one exception says so: while a full disk is waited
 * for (state RUNNING, error ENOSPC or EDQUOT) it goes on.
 */
struct fwdcap_checkpoint {
	__u64 magic;
	__u32 abi;
	__u32 crc32;	  /* zlib's, over the slot with this field 0 */
	__u64 generation;
	__u64 heartbeat_ns; /* CLOCK_MONOTONIC */

	__u32 state; /* enum fwdcap_recorder_state */
	__u32 error; /* errno, 0: none */

	__u32 segment;	     /* number of the open segment */
	__u32 nr_cpus;
	__u64 segment_bytes; /* committed length of it, file header included */
	__u64 segment_tags;  /* entries in its tags file */
	__u64 segment_index; /* entries in its index file */

	__u64 packets;	  /* in the stream */
	__u64 bytes;	  /* record headers and frames, file headers not */
	__u64 frame_bytes; /* caplen only */
	__u64 first_ns;	  /* UTC; 0: no record yet */
	__u64 last_ns;
	__u64 clock_offset_ns; /* UTC = monotonic + this, for the whole stream */

	__u64 lost_records[FWDCAP_LOSSES];
	__u64 first_loss_ns; /* UTC, 0: none */
	__u64 last_loss_ns;
	__u64 late_records; /* came later than the hold-back, time raised */
	__u64 direct_io;    /* 1: O_DIRECT is in use */

	__u32 nr_rings;
	__u32 end_reason;	 /* enum fwdcap_end_reason */
	__u64 begun_ns;		 /* CLOCK_MONOTONIC; after a roll, the one it followed's ended_ns */
	__u64 ended_ns;		 /* CLOCK_MONOTONIC, 0: not yet */
	__u64 begun_sequence;	 /* sum of next_sequence where the stream began */
	__u64 lost_before[FWDCAP_LOSSES]; /* by the streams this one was rolled from */
	__u64 synced_packets;	 /* this many survive a power cut, as of … */
	__u64 synced_ns;	 /* CLOCK_MONOTONIC, when the last sync that succeeded began */
	__u64 reserved[8];

	/* By ring: the consumer position to go on from, and what of it was lost. */
	__u64 ring_position[FWDCAP_MAX_RINGS];
	__u64 ring_lost_records[FWDCAP_MAX_RINGS];
	__u64 ring_first_loss_ns[FWDCAP_MAX_RINGS]; /* UTC, 0: none */
	__u64 ring_last_loss_ns[FWDCAP_MAX_RINGS];

	__u64 next_sequence[FWDCAP_MAX_CPUS];
};

#endif /* FWDCAP_ABI_H */
