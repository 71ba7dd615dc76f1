/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fwdcap-scan reads recorded streams and writes what of them is wanted: within a
 * time window, of some routes and modes, matching filters, cut short, compressed,
 * as pcap or pcapng. It reads bytes that came from anybody, so it has nothing
 * worth taking: no privilege, no network, limits on time and memory.
 *
 * Exit: 0 done, or the reader of its output went away; 1 what it was to read
 * cannot be read; 2 it was asked for something that makes no sense.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "scan/confine.h"
#include "scan/say.h"
#include "scan/scan.h"

#define EXIT_USAGE 2

static void say_statistics(const struct scan *scan)
{
	fprintf(stderr,
		"statistics read_records=%llu read_bytes=%llu matched_records=%llu "
		"matched_bytes=%llu written_bytes=%llu\n",
		(unsigned long long)scan->read_records, (unsigned long long)scan->read_bytes,
		(unsigned long long)scan->matched_records,
		(unsigned long long)scan->matched_bytes,
		(unsigned long long)scan->output->written);
}

static int run(struct scan *scan, const struct options *options, struct predicate *predicate)
{
	struct output output = {};
	int err;

	err = output_init(&output, STDOUT_FILENO, options->gzip);
	if (err) {
		refuse(err, "cannot begin: %m");
		goto free;
	}
	scan->options = options;
	scan->predicate = predicate;
	scan->emitter = options->format == FORMAT_PCAPNG ? &emit_pcapng : &emit_pcap;
	scan->output = &output;
	err = scan_run(scan, READER_BYTES);
	if (!err && options->statistics)
		say_statistics(scan);
free:
	output_free(&output);
	return err && err != -EPIPE ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options;
	struct predicate predicate = {};
	struct plan plan = {};
	struct scan *scan = NULL;
	int err, code = EXIT_USAGE;

	signal(SIGPIPE, SIG_IGN);
	if (options_parse(&options, argc, argv))
		return EXIT_USAGE;
	if (confine(&options))
		return EXIT_FAILURE;
	if (predicate_init(&predicate, &options))
		goto free;
	if (options.check_only) {
		code = EXIT_SUCCESS;
		goto free;
	}
	err = plan_read(&plan, STDIN_FILENO);
	code = err == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
	if (err)
		goto free;
	scan = calloc(1, sizeof(*scan));
	if (!scan) {
		refuse(-ENOMEM, "cannot begin: %m");
		goto free;
	}
	scan->plan = &plan;
	code = run(scan, &options, &predicate);
free:
	free(scan);
	plan_free(&plan);
	predicate_free(&predicate);
	return code;
}
