"""Places that refuse: a disk with little room, and a person who is not the owner."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: What a full disk says, and a file that may not be longer.
FULL = r"No space left on device|File too large"
_PAGE = 4096


class SmallDisk:
    """A folder on a disk of few megabytes.

    A tmpfs that a process of its own holds mounted, in namespaces of its own, so that neither
    root nor a normal user needs any right for it. Where the system does not allow that, the same
    folder as ever, and while it is full no file may become longer than what is left.

    Args:
        place: where it is mounted; made.
        size: bytes of the disk.

    Attributes:
        folder: how to reach it from outside.
        real: whether it is a disk.
    """

    def __init__(self, place: Path, size: int = 1 << 25) -> None:
        place.mkdir(parents=True, exist_ok=True)
        script = 'mount -t tmpfs -o size="$1" none "$0" && echo mounted && exec cat'
        words = ["unshare", "-rm", "sh", "-c", script, str(place), str(size)]
        self.folder, self.real = place, False
        self._holder: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError):
            self._holder = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._holder.stdout is not None
            if self._holder.stdout.readline() == "mounted\n":
                self.folder = Path(f"/proc/{self._holder.pid}/root{place.absolute()}")
                self.real = True
        print("a tmpfs of its own" if self.real else "no tmpfs allowed here: RLIMIT_FSIZE")

    @contextlib.contextmanager
    def full(self, leave: int = 0) -> Iterator[None]:
        """Leave so many bytes, rounded down to pages; afterwards there is room again."""
        if not self.real:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (leave, before[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            return
        ballast = self.folder / ".ballast"
        state = os.statvfs(self.folder)
        with ballast.open("wb") as stream:
            ballast.unlink()  # its room is taken as long as it is open
            pages = state.f_bavail * state.f_frsize // _PAGE - leave // _PAGE
            os.posix_fallocate(stream.fileno(), 0, pages * _PAGE)
            yield

    def names(self) -> set[str]:
        """Return the files that lie on it."""
        return {path.name for path in self.folder.rglob("*") if path.is_file()}

    def close(self) -> None:
        """Let go of it."""
        if self._holder is not None:
            self._holder.communicate()


def stranger() -> dict[str, int]:
    """Return the part of an order to the toys that makes it somebody's without rights.

    Of root, nobody's; of anyone else nothing: he has no more rights than that.
    """
    return {} if os.geteuid() else {"uid": 65534}


def without_rights() -> list[str]:
    """Return the words before a command that let rights of files count for root as well."""
    if os.geteuid():
        return []
    words = ["unshare", "-U", "--map-user=65534", "--map-group=65534"]
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    if tried.returncode == 0:
        return words
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


@contextlib.contextmanager
def strangers_folder() -> Iterator[Path]:
    """Yield a folder that belongs to the stranger."""
    folder = Path(tempfile.mkdtemp(prefix="evonas-"))
    hand_over(folder)
    try:
        yield folder
    finally:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


def hand_over(folder: Path) -> None:
    """Give a folder and all that is in it to the stranger."""
    who = stranger()
    for path in (folder, *folder.rglob("*")):
        if who:
            os.chown(path, who["uid"], who["uid"])
