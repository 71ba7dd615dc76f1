/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scan/output.h"

#define BUFFER_BYTES (1U << 20)
#define PACKED_BYTES (256U << 10)
#define PIPE_BYTES (1 << 20)
#define DIRECT_BYTES (128U << 10) /* from here on a copy costs more than a call */
#define WINDOW_GZIP (MAX_WBITS + 16)
#define MEMORY_LEVEL 8 /* zlib's default */

_Static_assert(OUTPUT_PIECE_BYTES <= BUFFER_BYTES, "a piece fits the buffer");

int output_init(struct output *output, int fd, int level)
{
	*output = (struct output){ .fd = fd };
	output->buffer = malloc(BUFFER_BYTES);
	if (!output->buffer)
		return -ENOMEM;
	/* Only a pipe has this, and it may be refused: then it is slower. */
	fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
	if (!level)
		return 0;
	output->packed = malloc(PACKED_BYTES);
	if (!output->packed || deflateInit2(&output->stream, level, Z_DEFLATED, WINDOW_GZIP,
					    MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	output->gzip = true;
	return 0;
}

static int deliver(struct output *output, const unsigned char *data, size_t bytes)
{
	ssize_t sent;

	while (bytes) {
		sent = write(output->fd, data, bytes);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		data += sent;
		bytes -= (size_t)sent;
		output->written += (size_t)sent;
	}
	return 0;
}

static int pack(struct output *output, const unsigned char *data, size_t bytes, int flush)
{
	z_stream *stream = &output->stream;
	int err;

	/* zlib only reads what next_in points to. */
	stream->next_in = (unsigned char *)data;
	stream->avail_in = (uInt)bytes;
	do {
		stream->next_out = output->packed;
		stream->avail_out = PACKED_BYTES;
		deflate(stream, flush);
		err = deliver(output, output->packed, PACKED_BYTES - stream->avail_out);
	} while (!err && !stream->avail_out);
	return err;
}

static int drain(struct output *output, int flush)
{
	size_t used = output->used;

	output->used = 0;
	if (output->gzip)
		return pack(output, output->buffer, used, flush);
	return deliver(output, output->buffer, used);
}

unsigned char *output_room(struct output *output, size_t bytes, int *err)
{
	if (bytes > BUFFER_BYTES - output->used) {
		*err = bytes > BUFFER_BYTES ? -EMSGSIZE : drain(output, Z_NO_FLUSH);
		if (*err)
			return NULL;
	}
	return output->buffer + output->used;
}

int output_write(struct output *output, const void *data, size_t bytes)
{
	int err = 0;

	if (bytes > BUFFER_BYTES - output->used || bytes >= DIRECT_BYTES)
		err = drain(output, Z_NO_FLUSH);
	if (err)
		return err;
	if (bytes >= DIRECT_BYTES)
		return output->gzip ? pack(output, data, bytes, Z_NO_FLUSH) :
				      deliver(output, data, bytes);
	memcpy(output->buffer + output->used, data, bytes);
	output->used += bytes;
	return 0;
}

int output_flush(struct output *output)
{
	return drain(output, Z_SYNC_FLUSH);
}

int output_finish(struct output *output)
{
	return drain(output, Z_FINISH);
}

bool output_abandoned(const struct output *output)
{
	struct pollfd gone = { .fd = output->fd };

	return poll(&gone, 1, 0) > 0 && (gone.revents & POLLERR);
}

void output_free(struct output *output)
{
	if (output->gzip)
		deflateEnd(&output->stream);
	free(output->packed);
	free(output->buffer);
	*output = (struct output){ .fd = -1 };
}
