/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fwdcap-recorder drains the rings of one capture into one stream of the store.
 * It never deletes, never waits for a reader, and gives ring space back only
 * when a checkpoint says that what was in it is on disk: so it can be killed at
 * any moment and started again.
 *
 * SIGTERM ends the stream with all that has been emitted. SIGUSR1, a cap or
 * --roll-at ends it while emission goes on: after a roll, another recorder
 * takes up exactly there with --continue.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "recorder/privilege.h"
#include "recorder/recorder.h"
#include "recorder/say.h"

#define SEGMENT_BYTES 1000000000ULL
/* Room for the file's header and one record's. */
#define LEAST_BYTES \
	(sizeof(struct fwdcap_pcap_file_header) + sizeof(struct fwdcap_pcap_record_header))
#define MOST_SECONDS 1000000000ULL
#define EXIT_USAGE 2

static volatile sig_atomic_t asked = FWDCAP_END_NONE; /* how the stream is to end */

static void on_signal(int signal)
{
	if (signal != SIGUSR1)
		asked = FWDCAP_END_SIGNAL;
	else if (asked == FWDCAP_END_NONE)
		asked = FWDCAP_END_ROLL;
}

static int usage(void)
{
	fprintf(stderr, "usage: fwdcap-recorder --pins DIR --stream DIR [--user NAME_OR_UID[:GROUP]]\n"
			"                       [--continue DIR] [--snaplen N] [--segment-bytes N]\n"
			"                       [--block-bytes N] [--max-bytes N] [--max-packets N]\n"
			"                       [--max-seconds N] [--roll-at UTC_NS]\n");
	return -EINVAL;
}

static int number(const char *text, __u64 least, __u64 most, __u64 *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || *value < least || *value > most)
		return refuse(-EINVAL, "%s is not a number from %llu to %llu", text,
			      (unsigned long long)least, (unsigned long long)most);
	return 0;
}

static int set_option(struct options *options, int option)
{
	__u64 snaplen;
	int err = 0;

	switch (option) {
	case 'p':
		options->pins = optarg;
		break;
	case 's':
		options->stream = optarg;
		break;
	case 'u':
		options->user = optarg;
		break;
	case 'l':
		err = number(optarg, 0, FWDCAP_PCAP_SNAPLEN, &snaplen);
		options->snaplen = (__u32)snaplen;
		break;
	case 'g':
		err = number(optarg, BLOCK_UNIT, INT64_MAX - BLOCK_UNIT, &options->segment_bytes);
		break;
	case 'b':
		err = number(optarg, BLOCK_MIN_BYTES, BLOCK_MAX_BYTES, &options->block_bytes);
		options->block_bytes -= options->block_bytes % BLOCK_UNIT;
		break;
	case 'c':
		options->follow = optarg;
		break;
	case 'B':
		err = number(optarg, LEAST_BYTES, INT64_MAX, &options->max_bytes);
		break;
	case 'P':
		err = number(optarg, 1, INT64_MAX, &options->max_packets);
		break;
	case 'S':
		err = number(optarg, 1, MOST_SECONDS, &options->max_seconds);
		break;
	case 'R':
		err = number(optarg, 1, INT64_MAX, &options->roll_at_ns);
		break;
	default:
		err = usage();
	}
	return err;
}

static int parse(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{ "pins", required_argument, NULL, 'p' },
		{ "stream", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "snaplen", required_argument, NULL, 'l' },
		{ "segment-bytes", required_argument, NULL, 'g' },
		{ "block-bytes", required_argument, NULL, 'b' },
		{ "continue", required_argument, NULL, 'c' },
		{ "max-bytes", required_argument, NULL, 'B' },
		{ "max-packets", required_argument, NULL, 'P' },
		{ "max-seconds", required_argument, NULL, 'S' },
		{ "roll-at", required_argument, NULL, 'R' },
		{},
	};
	int option, err = 0;

	while (!err && (option = getopt_long(argc, argv, "", known, NULL)) != -1)
		err = set_option(options, option);
	if (!err && (!options->pins || !options->stream || optind != argc))
		err = usage();
	return err;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	/* A supervisor that has gone must not take the recorder along. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct recorder recorder = {};
	struct options options = {
		.segment_bytes = SEGMENT_BYTES,
		.block_bytes = BLOCK_BYTES,
		.max_bytes = UINT64_MAX,
		.max_packets = UINT64_MAX,
		.max_seconds = UINT64_MAX,
		.roll_at_ns = UINT64_MAX,
	};
	int err;

	if (parse(&options, argc, argv))
		return EXIT_USAGE;
	catch_signals();
	umask(0027);
	err = recorder_open(&recorder, &options);
	if (!err)
		err = privilege_drop(options.user, &recorder.directory);
	if (!err)
		err = recorder_begin(&recorder);
	if (err)
		goto close;
	err = recorder_run(&recorder, &asked);
	err = err ? recorder_fail(&recorder, err) : recorder_finish(&recorder);
close:
	recorder_close(&recorder);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
