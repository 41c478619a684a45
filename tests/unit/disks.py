"""Disks that are full."""

import resource
from contextlib import contextmanager


@contextmanager
def full_at(size):
    """Within, no file of this process may get larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
