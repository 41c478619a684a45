"""Files from the net: each whole and the right one, or not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polymodal.datasets.archives import unpack, unpacked
from polymodal.datasets.lock import alone
from polymodal.datasets.transfer import Remote, Transfer, md5_of

__all__ = ["Remote", "fetch"]


def fetch(remotes: Sequence[Remote], root: Path, by_hand: str) -> None:
    """Fetches those files that are not there with the right checksum.

    What comes is written beside its place under a temporary name, from where a later call goes on if this one is
    broken off, and takes its name when size and checksum are right. Processes that fetch into one folder wait for
    each other.

    Arguments:
        remotes: The files.
        root: The folder that they are put beneath; made if need be. A file there with another checksum is replaced.
        by_hand: What to do without this function: one sentence, for the errors.

    Raises:
        ConnectionError: A server cannot be reached, or does not give the file.
        OSError: The file cannot be written.
        ValueError: What came is another file, or cannot be unpacked.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    with alone(root, "fetches into"):
        for remote in remotes:
            path = root / remote.path
            if remote.unpack and unpacked(path, root, remote.md5):
                continue
            if not _right(path, remote):
                Transfer(remote, path, by_hand).run()
            if remote.unpack:
                unpack(path, root, remote.md5, most=10 * remote.size + 2**30)


def _right(path: Path, remote: Remote) -> bool:
    return path.is_file() and path.stat().st_size == remote.size and md5_of(path) == remote.md5
