"""Downloads models from the Hugging Face Hub, and uploads them.

An address is `hf://owner/name` or `hf://owner/name@revision`, where the revision is a branch, a tag or a commit. A
repository of a model has the files of a model's folder at its top level. It is downloaded into the cache of
`huggingface_hub`, which follows the environment variables `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE`. A token is
read from the environment variable `HF_TOKEN` only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import say

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "SCHEME",
    "HubAddress",
    "download_model",
    "is_hub_address",
    "parse_address",
    "parse_repository",
    "require_hub",
    "upload_model",
]

SCHEME = "hf://"
NEEDED = ("model.json", "weights.safetensors")
"""Files that a repository of a model has."""
OPTIONAL = ("README.md", "figure.png", "examples.json")
"""Further files that are uploaded and downloaded."""
PICKLES = (".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth")
"""Endings of files that are usually pickles, which can run code when they are read."""
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
COMMIT = re.compile(r"[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """A repository on the Hub and a revision of it; None is the main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}{'' if self.revision is None else '@' + self.revision}"


def is_hub_address(text: object) -> bool:
    """Returns whether a value is the text of an address on the Hub.

    Example:
        >>> is_hub_address("hf://owner/name"), is_hub_address("runs/demo")
        (True, False)
    """
    return isinstance(text, str) and text.startswith(SCHEME)


def parse_address(text: str) -> HubAddress:
    """Parses an address on the Hub.

    Raises:
        ValueError: The text is not of the form `hf://owner/name` or `hf://owner/name@revision`.

    Example:
        >>> parse_address("hf://owner/name@v1")
        HubAddress(repository='owner/name', revision='v1')
    """
    repository, at, revision = text.removeprefix(SCHEME).partition("@")
    parse_repository(repository, text)
    if at and (REVISION.fullmatch(revision) is None or ".." in revision):
        raise ValueError(f"the revision in {brief(text, 200)} must be a branch, a tag or a commit, such as main or v1")
    return HubAddress(repository, revision if at else None)


def parse_repository(name: str, text: str | None = None) -> str:
    """Checks the name of a repository, and returns it.

    Arguments:
        name: Name of the form `owner/name`.
        text: The address that contains it, for the message.

    Raises:
        ValueError: The name has another form.

    Example:
        >>> parse_repository("owner/name")
        'owner/name'
    """
    parts = name.split("/")
    if len(parts) != 2 or not all(NAME.fullmatch(part) and not re.search(r"\.\.|--", part) for part in parts):
        form = "owner/name" if text is None else f"{SCHEME}owner/name or {SCHEME}owner/name@revision"
        raise ValueError(
            f"a repository on the Hugging Face Hub must be written as {form}, with letters, digits, '-', '_' and '.'; "
            f"got {brief(repr(name if text is None else text), 200)}"
        )
    return name


def download_model(address: HubAddress) -> Path:
    """Downloads the files of a model into the cache of the Hub, unless they are there, and returns their folder.

    Nothing is downloaded from a repository that holds a pickle. If the Hub cannot be reached, the cached copy of the
    revision is used, and this is reported on stderr.

    Raises:
        ImportError: `huggingface_hub` is not installed.
        FileNotFoundError: The repository or the revision does not exist, is private, or holds no model.
        PermissionError: The Hub refuses access.
        ConnectionError: The Hub cannot be reached, and there is no cached copy.
        ValueError: The repository holds a pickle.
    """
    require_hub()
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _find_cached(address, "HF_HUB_OFFLINE is set")
    try:
        with _explain_errors(address):
            info = _connect().model_info(address.repository, revision=address.revision)
    except ConnectionError as error:
        folder = _find_cached(address, str(error))
        say(f"the Hugging Face Hub cannot be reached; the cached copy of {address} is used")
        return folder
    _check_files(address, [file.rfilename for file in info.siblings or []])
    with _explain_errors(address):
        return _fetch(address, offline=False)


def upload_model(
    folder: Path, repository: str, *, private: bool | None, revision: str | None, message: str
) -> tuple[str, str]:
    """Uploads the files of a model's folder in one commit, and creates the repository or the branch if it is missing.

    Other files of the folder are not uploaded.

    Arguments:
        folder: Folder of the model.
        repository: Name of the form `owner/name`.
        private: Whether a new repository is private; None for the default of the owner.
        revision: Branch, by default the main branch.
        message: Message of the commit.

    Returns:
        The address of the repository's page, and the commit.

    Raises:
        ImportError: `huggingface_hub` is not installed.
        FileNotFoundError: The repository cannot be written with this token.
        PermissionError: There is no token, or the Hub refuses it.
        ConnectionError: The Hub cannot be reached.
        ValueError: The name of the repository or of the branch is not valid.
    """
    require_hub()
    address = parse_address(f"{SCHEME}{repository}{'' if revision is None else '@' + revision}")
    if _read_token() is None:
        raise PermissionError(
            "pushing to the Hugging Face Hub needs a token that may write, in the environment variable HF_TOKEN, which "
            "is not set; create one at https://huggingface.co/settings/tokens"
        )
    with _explain_errors(address, writes=True), _show_progress():
        api = _connect()
        url = api.create_repo(repository, private=private, exist_ok=True)
        if revision not in (None, "main"):
            api.create_branch(repository, branch=revision, exist_ok=True)
        held = [file.rfilename for file in api.model_info(repository, revision=revision).siblings or []]
        operations = _list_operations(address, folder, held)
        commit = api.create_commit(repository, operations, commit_message=message, revision=revision)
    return str(url), str(commit.oid)


def _list_operations(address: HubAddress, folder: Path, held: list[str]) -> list[Any]:
    """Returns the operations of a commit: files of the folder, and removal of those that only an earlier model had.

    Raises:
        ValueError: The repository holds a pickle.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    if pickles := _find_pickles(held):
        raise ValueError(
            f"{address} must hold Safetensors and JSON only, because polymodal.load refuses other repositories; it "
            f"holds {brief(pickles[0], 100)}, which may be a pickle; remove this file, or choose another repository"
        )
    files = [name for name in (*NEEDED, *OPTIONAL) if (folder / name).is_file()]
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files]
    return added + [CommitOperationDelete(path_in_repo=name) for name in OPTIONAL if name in held and name not in files]


def _find_pickles(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if PurePosixPath(name).suffix.lower() in PICKLES)


def require_hub() -> None:
    """Checks that `huggingface_hub` is installed.

    Raises:
        ImportError: It is not; the message says how to install it.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError("the Hugging Face Hub needs huggingface_hub; pip install 'polymodal[hub]'") from error


def _read_token() -> str | None:
    return os.environ.get("HF_TOKEN", "").strip() or None


def _connect() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(token=_read_token() or False, library_name="polymodal")


def _check_files(address: HubAddress, names: Iterable[str]) -> None:
    """Checks the names of the files in a repository.

    Raises:
        FileNotFoundError: A file of a model is missing.
        ValueError: A file is a pickle.
    """
    names = list(names)
    if pickles := _find_pickles(names):
        raise ValueError(
            f"{address} must hold Safetensors and JSON only, and it holds {brief(pickles[0], 100)}, which may be a "
            "pickle that runs code when it is read; nothing was downloaded; ask its owner to remove the file"
        )
    if missing := [name for name in NEEDED if name not in names]:
        raise FileNotFoundError(
            f"{address} must hold a model of polymodal, with {' and '.join(NEEDED)}; it has no {missing[0]}; models "
            "get there by `polymodal push` or model.push_to_hub"
        )


def _find_cached(address: HubAddress, why: str) -> Path:
    """Returns the folder of the cached copy.

    Raises:
        ConnectionError: There is no complete cached copy.
    """
    try:
        folder = _fetch(address, offline=True)
    except (OSError, ValueError):
        folder = None
    if folder is None or not all((folder / name).is_file() for name in NEEDED):
        raise ConnectionError(
            f"{address} is not in the cache, and it cannot be downloaded: {why}; connect to the internet and load it "
            "once, after that it can be loaded offline"
        )
    return folder


def _fetch(address: HubAddress, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"token": _read_token() or False, "library_name": "polymodal"}
    options |= {"local_files_only": offline, "allow_patterns": [*NEEDED, *OPTIONAL]}
    with _show_progress():
        return Path(snapshot_download(address.repository, revision=address.revision, **options))


@contextmanager
def _show_progress() -> Iterator[None]:
    """Shows the progress bars of `huggingface_hub` on a terminal only."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hides = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hides:
        disable_progress_bars()
    try:
        yield
    finally:
        if hides:
            enable_progress_bars()


@contextmanager
def _explain_errors(address: HubAddress, *, writes: bool = False) -> Iterator[None]:
    """Converts errors of `huggingface_hub` into errors of Python, in one sentence and without the token."""
    from huggingface_hub import errors

    network: type[Exception] = getattr(errors, "HTTPError", OSError)  # the base class of its client's errors
    try:
        yield
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"{SCHEME}{address.repository} has no revision {address.revision}; use a branch, a tag or a commit that "
            "its page lists under 'Files and versions'"
        ) from None
    except errors.GatedRepoError:
        raise PermissionError(
            f"{address} is given only to users whom its owner has accepted; ask for access on its page, and set "
            "HF_TOKEN to your token"
        ) from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(_explain_missing(address, writes=writes)) from None
    except (OSError, network) as error:
        raise _convert_error(address, error, writes=writes) from None
    except RuntimeError as error:  # of the transfer of a large file
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise _convert_error(address, cause, writes=writes) from None


def _explain_missing(address: HubAddress, *, writes: bool) -> str:
    held = "HF_TOKEN is not set" if _read_token() is None else "the token in HF_TOKEN has no access to it"
    way = "use a token that may write to it" if writes else "check the name, and set HF_TOKEN if it is private"
    return f"{SCHEME}{address.repository} does not exist on the Hugging Face Hub or is private, and {held}; {way}"


def _convert_error(address: HubAddress, error: Exception, *, writes: bool) -> Exception:
    """Returns the error of Python for a response of the Hub with the status of an error, or for a failed connection."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    verb, kind = ("written", "write") if writes else ("read", "read")
    if status in (401, 403):
        return PermissionError(
            f"{address} cannot be {verb}: the Hugging Face Hub refused the request (status {status}); set HF_TOKEN to "
            f"a token that may {kind} it"
        )
    reason = f"status {status}" if status else _hide_token(brief(error, 200))
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return ValueError(f"{address} cannot be {verb}: the Hugging Face Hub refused the request ({reason})")
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, f"{error.strerror}; {address} could not be {verb}", error.filename)
    return ConnectionError(f"the Hugging Face Hub cannot be reached or the connection was cut ({reason}); try again")


def _hide_token(text: str) -> str:
    token = _read_token()
    return text if token is None else text.replace(token, "(token)")
