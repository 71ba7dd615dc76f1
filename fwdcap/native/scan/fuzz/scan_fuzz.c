/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything of fwdcap-scan that touches hostile bytes, on bytes of a fuzzer:
 * a segment with its tags through predicate and writers, or a plan.
 *
 * Input: one byte of FUZZ_ flags, one of snaplen, the number of tags, the tags,
 * and the segment. With FUZZ_PLAN what follows the first byte is a plan.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scan/say.h"
#include "scan/scan.h"

#define FUZZ_PCAPNG 1
#define FUZZ_GZIP 2
#define FUZZ_FILTER 4
#define FUZZ_SELECT 8
#define FUZZ_WINDOW 16
#define FUZZ_SMALL_READS 32
#define FUZZ_TAGGED 64
#define FUZZ_PLAN 128

#define HEAD_BYTES 3
#define SMALL_READ_BYTES 61
#define LARGE_READ_BYTES 4096
#define PATH_BYTES 32
#define WINDOW_NS 1000000000000000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Nobody reads what is said here. */
int refuse(int error, const char *format, ...)
{
	(void)format;
	return error;
}

static int keep(const uint8_t *data, size_t size, char *path)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
		abort();
	snprintf(path, PATH_BYTES, "/proc/self/fd/%d", fd);
	return fd;
}

static void run(const struct options *options, const struct plan *plan, int flags)
{
	struct scan *scan = calloc(1, sizeof(*scan));
	struct predicate predicate;
	struct output output;
	int sink = open("/dev/null", O_WRONLY);

	if (!scan || sink < 0 || predicate_init(&predicate, options) ||
	    output_init(&output, sink, options->gzip))
		abort();
	scan->options = options;
	scan->plan = plan;
	scan->predicate = &predicate;
	scan->emitter = flags & FUZZ_PCAPNG ? &emit_pcapng : &emit_pcap;
	scan->output = &output;
	scan_run(scan, flags & FUZZ_SMALL_READS ? SMALL_READ_BYTES : LARGE_READ_BYTES);
	output_free(&output);
	predicate_free(&predicate);
	close(sink);
	free(scan);
}

static void scan_segment(const uint8_t *data, size_t size)
{
	const int flags = data[0];
	const size_t tags = data[2] * sizeof(struct fwdcap_tag);
	__u32 route_id = 1;
	char path[PATH_BYTES], tags_path[PATH_BYTES];
	struct plan_interface interface = { .route_id = 1, .mode = FWDCAP_MODE_INLINE,
					    .dropped = 1, .name = "a/inline" };
	struct plan_gap gaps[2] = { { .ns = 1, .text = "lost" }, { .ns = WINDOW_NS } };
	struct plan_segment segment = { .offset = 24, .path = path };
	struct plan_stream stream = {
		.name = "fuzz", .interfaces = &interface, .nr_interfaces = 1, .gaps = gaps,
		.nr_gaps = 2, .segments = &segment, .nr_segments = 1, .selected = &route_id,
		.nr_selected = flags & FUZZ_SELECT ? 1 : 0,
	};
	struct plan plan = { .streams = &stream, .nr_streams = 1 };
	struct options options = {
		.format = flags & FUZZ_PCAPNG ? FORMAT_PCAPNG : FORMAT_PCAP,
		.start_ns = flags & FUZZ_WINDOW ? WINDOW_NS : 0,
		.stop_ns = UINT64_MAX,
		.filters = { "ip and (tcp port 80 or udp[0:2] > 1024 or vlan)" },
		.nr_filters = flags & FUZZ_FILTER ? 1 : 0,
		.direction = OPTIONS_ANY_DIRECTION,
		.snaplen = data[1],
		.gzip = flags & FUZZ_GZIP ? 1 : 0,
	};
	int fd, tags_fd;

	data += HEAD_BYTES;
	size -= HEAD_BYTES;
	if (size < tags)
		return;
	tags_fd = keep(data, tags, tags_path);
	fd = keep(data + tags, size - tags, path);
	segment.length = size - tags > segment.offset ? size - tags - segment.offset : 1;
	segment.tags_path = flags & FUZZ_TAGGED ? tags_path : NULL;
	run(&options, &plan, flags);
	close(fd);
	close(tags_fd);
}

static void parse_plan(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct plan plan;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	plan_parse(&plan, text, size);
	plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < HEAD_BYTES)
		return 0;
	if (data[0] & FUZZ_PLAN)
		parse_plan(data + 1, size - 1);
	else
		scan_segment(data, size);
	return 0;
}
