"""The counts that take too long for every commit: `make test-long`."""
