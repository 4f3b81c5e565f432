"""What a search leaves on a machine: processes, shared memory, Ray's folder.

A driver that began a session of its own (``start_new_session``) gives its number to all that it
starts, Ray's servers and workers included, and they keep it when it is gone.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SHARED = Path("/dev/shm")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SERVERS = ("raylet", "gcs_server")


def heeding_ctrl_c() -> None:
    """Let a new process heed Ctrl-C, which what a shell starts in its background ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def family(session: int) -> dict[int, str]:
    """Return the processes of a driver's session that live: number -> what it is."""
    found = {}
    for folder in Path("/proc").iterdir():
        stat = _stat(int(folder.name)) if folder.name.isdigit() else []
        if stat and int(stat[3]) == session and stat[0] not in "ZX":
            with suppress(OSError):
                found[int(folder.name)] = _name(folder)
    return found


def only(session: int, what: str) -> list[int]:
    """Return the processes of a session that are ``driver``, ``raylet``, ``worker``, ..."""
    if what == "driver":
        return [session] if session in family(session) else []
    return sorted(number for number, name in family(session).items() if name == what)


def gone(session: int, patience: float = 60.0) -> dict[int, str]:
    """Wait for all processes of a session to end; return those that did not."""
    for number in family(session):
        try:
            descriptor = os.pidfd_open(number)
        except ProcessLookupError:
            continue
        try:  # readable once the process has ended
            if not select.select([descriptor], [], [], patience)[0]:
                break
        finally:
            os.close(descriptor)
    return family(session)


def end(session: int) -> None:
    """End what is left of a session, and nothing else."""
    for number in family(session):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def shared() -> set[str]:
    """Return the names in shared memory that no living process holds, at two looks."""
    return _unheld() & _unheld()


def _unheld() -> set[str]:
    names = {path.name for path in SHARED.iterdir()}
    if names:
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with suppress(OSError):
                text = maps.read_text()
                names -= {name for name in names if f"{SHARED}/{name}" in text}
    return names


def shared_bytes() -> int:
    """Return the bytes of shared memory that are in use, by whomever."""
    state = os.statvfs(SHARED)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def resident(number: int) -> int:
    """Return the bytes of memory of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def handles(number: int) -> int:
    """Return how many files a process has open; 0 if it is gone."""
    try:
        return len(os.listdir(f"/proc/{number}/fd"))
    except OSError:
        return 0


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(_sizes(folder))


def sessions(folder: Path) -> list[Path]:
    """Return Ray's session folders in its temporary folder."""
    return sorted(p for p in folder.glob("ray/session_*") if not p.is_symlink())


def remove(folder: Path) -> None:
    """Remove Ray's temporary folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _sizes(folder: Path) -> Iterator[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield os.lstat(Path(place) / name).st_size


def _stat(number: int) -> list[str]:
    """Return what /proc says of a process behind its name; empty if it is gone."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _name(folder: Path) -> str:
    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    first = Path(words[0]).name
    if first in _SERVERS:
        return first
    if any(word.endswith("default_worker.py") for word in words):
        return "worker"
    if words[0].startswith("ray::"):
        return "server" if words[0].endswith("Agent") else "worker"
    return "other"
