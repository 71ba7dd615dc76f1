/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fwdcap-recorder drains the ring of one capture into one stream of the store.
 * It never deletes, never waits for a reader, and gives ring space back only
 * when a checkpoint says that what was in it is on disk: so it can be killed at
 * any moment and started again.
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
#define EXIT_USAGE 2

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	(void)signal;
	stop = 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: fwdcap-recorder --pins DIR --stream DIR [--user NAME_OR_UID[:GROUP]]\n"
			"                       [--snaplen N] [--segment-bytes N] [--block-bytes N]\n");
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
	/* A supervisor that has gone must not take the recorder along. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct recorder recorder = {};
	struct options options = { .segment_bytes = SEGMENT_BYTES, .block_bytes = BLOCK_BYTES };
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
	err = recorder_run(&recorder, &stop);
	err = err ? recorder_fail(&recorder, err) : recorder_finish(&recorder);
close:
	recorder_close(&recorder);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
