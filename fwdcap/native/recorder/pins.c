/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder/pins.h"
#include "recorder/say.h"

int pins_lock(const char *pins)
{
	int fd, err;

	fd = open(pins, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return refuse(-errno, "cannot open the directory of pins %s: %m", pins);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	err = -errno;
	close(fd);
	if (err == -EWOULDBLOCK)
		return refuse(err, "another recorder already reads the ring in %s", pins);
	return refuse(err, "cannot lock %s: %m", pins);
}

int pins_map(const char *pins, const char *name, __u32 type, struct bpf_map_info *info)
{
	__u32 size = sizeof(*info);
	char path[PATH_MAX];
	int fd, err;

	snprintf(path, sizeof(path), "%s/%s", pins, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return refuse(fd, "cannot open the map %s: %m", path);
	err = bpf_obj_get_info_by_fd(fd, info, &size);
	if (err) {
		refuse(err, "cannot ask about the map %s: %m", path);
		goto close;
	}
	if (info->type == type)
		return fd;
	err = refuse(-EINVAL, "%s is not the kind of map that belongs there", path);
close:
	close(fd);
	return err;
}

int pins_cpu_states(const char *pins, const struct fwdcap_cpu_state **states, __u32 *nr_cpus)
{
	struct bpf_map_info info = {};
	void *memory;
	int fd, err = 0;

	fd = pins_map(pins, "cpu_state", BPF_MAP_TYPE_ARRAY, &info);
	if (fd < 0)
		return fd;
	if (info.value_size != sizeof(**states) || info.max_entries > FWDCAP_MAX_CPUS) {
		err = refuse(-EINVAL, "%s/cpu_state has another layout than this recorder", pins);
		goto close;
	}
	memory = mmap(NULL, (size_t)info.value_size * info.max_entries, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		err = refuse(-errno, "cannot map %s/cpu_state: %m", pins);
		goto close;
	}
	*states = memory;
	*nr_cpus = info.max_entries;
close:
	close(fd);
	return err;
}

int pins_capture(const char *pins, struct fwdcap_capture_control *control)
{
	struct bpf_map_info info = {};
	__u32 key = 0;
	int fd, err;

	fd = pins_map(pins, "capture", BPF_MAP_TYPE_ARRAY, &info);
	if (fd < 0)
		return fd;
	if (info.value_size != sizeof(*control))
		err = refuse(-EINVAL, "%s/capture has another layout than this recorder", pins);
	else if ((err = bpf_map_lookup_elem(fd, &key, control)))
		refuse(err, "cannot read %s/capture: %m", pins);
	else if (control->nr_rings > FWDCAP_MAX_RINGS)
		err = refuse(-EINVAL, "%s/capture speaks of %u rings", pins, control->nr_rings);
	else if (control->nr_rings == 0)
		control->nr_rings = 1;
	close(fd);
	return err;
}
