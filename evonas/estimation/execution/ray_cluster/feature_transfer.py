"""Transfer of cached features to another machine, by file name and block by block.

The name of a cache file is a hash of everything that its content depends on, so it identifies
the file on every machine. The transport is a parameter, ``read``.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evonas.core.files import writing
from evonas.errors import RunError
from evonas.estimation.features.cache_files import check_space, intact

#: Returns at most so many bytes of a file: (name, offset, size) -> bytes.
Read = Callable[[str, int, int], bytes]

FOLDER = "EVONAS_CACHE"  # environment variable that names a node's own folder
_BLOCK = 1 << 24  # bytes: few messages, and little memory on both sides


class Source:
    """Reads the cache files of a run and their JSON notes; refuses any other file.

    Args:
        files: the cached files.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        both = [beside for path in files for beside in (path, path.with_suffix(".json"))]
        self._files = {path.name: path for path in both}

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return at most ``size`` bytes from ``offset`` on; none beyond the end.

        Raises:
            RunError: the file is not of the run, or cannot be read any more.
        """
        try:
            with self._files[name].open("rb") as stream:
                stream.seek(offset)
                return stream.read(size)
        except KeyError as error:
            raise RunError(f"feature cache: {name!r} is no file of this run") from error
        except OSError as error:
            raise RunError(
                f"feature cache {self._files[name].parent}: {name} cannot be read any more "
                f"({error.strerror}): resume the run, which computes it anew"
            ) from error


def own(path: Path) -> Path:
    """Return the path on this machine of a file of the search's cache."""
    folder = os.environ.get(FOLDER)
    return Path(folder).expanduser() / path.name if folder else path


def fetch(path: Path, read: Read) -> None:
    """Fetch a cached file unless an intact copy is on this machine.

    Args:
        path: on this machine.
        read: reads a block of the original.

    Raises:
        InputError: the disk is too small or cannot be written.
        RunError: the checksum of the copy is wrong.
    """
    if intact(path):
        return
    with writing(
        f"feature cache {path.parent} on {socket.gethostname()}",
        f"free some space, or name another folder there with {FOLDER}",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(path.parent):
            if not intact(path):  # another worker of this machine may just have fetched it
                _download(path, read)


def _download(path: Path, read: Read) -> None:
    beside = path.with_suffix(".json")
    note = read(beside.name, 0, _BLOCK)
    total = int(json.loads(note)["bytes"])
    here = f"name another folder with {FOLDER} on {socket.gethostname()}"
    check_space(path.parent, total, here)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with draft.open("wb") as stream:
            while stream.tell() < total:
                block = read(path.name, stream.tell(), _BLOCK)
                if not block:
                    break
                stream.write(block)
        draft.with_suffix(".json").write_bytes(note)
        if not intact(draft):
            raise RunError(
                f"feature cache {path.parent} on {socket.gethostname()}: {path.name} did not "
                f"arrive as it was written ({total} bytes, by checksum): resume the run, which "
                f"checks the original"
            )
        os.replace(draft.with_suffix(".json"), beside)
        os.replace(draft, path)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock by which one worker of a machine fetches at a time."""
    with (folder / "fetching.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
