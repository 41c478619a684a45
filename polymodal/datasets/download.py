"""Downloads files from the internet and verifies their checksums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polymodal.datasets.archives import is_unpacked, unpack
from polymodal.datasets.lock import alone
from polymodal.datasets.transfer import Remote, Transfer, md5_of

__all__ = ["Remote", "fetch"]


def fetch(remotes: Sequence[Remote], root: Path, by_hand: str) -> None:
    """Downloads the files that are missing or have a wrong checksum.

    A file is downloaded under a temporary name in its folder, and is renamed when its size and checksum are correct. An
    interrupted download is resumed by the next call. Processes that download into the same folder wait for each other.

    Arguments:
        remotes: Files to download.
        root: Folder for the files, created if necessary. Files with another checksum are replaced.
        by_hand: Instructions to get the files by hand: one sentence for the error messages.

    Raises:
        ConnectionError: A server cannot be reached, or does not provide the file.
        OSError: A file cannot be written.
        ValueError: A file has an unexpected size or checksum, or cannot be unpacked.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    with alone(root, "fetches into"):
        for remote in remotes:
            path = root / remote.path
            if remote.unpack and is_unpacked(path, root, remote.md5):
                continue
            if not _right(path, remote):
                Transfer(remote, path, by_hand).run()
            if remote.unpack:
                unpack(path, root, remote.md5, most=10 * remote.size + 2**30)


def _right(path: Path, remote: Remote) -> bool:
    return path.is_file() and path.stat().st_size == remote.size and md5_of(path) == remote.md5
