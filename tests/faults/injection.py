"""Faults at a chosen moment of a process: killed, without power, stopped, with a full disk.

Everything that a search does to its folder passes here: writes, fsyncs, renames, trainings. Each
is a moment with a number. At the chosen one the process ends by SIGKILL, the write in
between half done; or it loses what no fsync had brought to the disk first; or Ctrl-C is pressed;
or from then on every write fails as on a full disk.
"""

from __future__ import annotations

import errno
import io
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

_open, _fsync, _replace = io.open, os.fsync, os.replace


class Faults:
    """What happens to one process.

    Args:
        folder: of the run; other files are left alone.
        kind: ``kill``, ``power``, ``stop`` (Ctrl-C) or ``full``; empty: nothing, moments are
            only counted.
        at: number of the moment, from 1.
        part: share of the bytes of a write that still get through, 0..1.
    """

    def __init__(self, folder: Path, kind: str = "", at: int = 0, part: float = 0.5) -> None:
        self.folder, self.kind, self.at, self.part = folder.absolute(), kind, at, part
        self.moments: list[str] = []
        self._sizes: dict[int, tuple[Path, int]] = {}  # inode -> where, and how much is safe

    def install(self) -> None:
        """Let files of this process pass here."""
        io.open = self._opened
        os.fsync, os.replace = self._synced, self._replaced

    def moment(self, name: str) -> bool:
        """Count a moment; whether a write in it is to be broken off."""
        self.moments.append(name)
        due = len(self.moments)
        if self.kind == "full":
            return due >= self.at
        return bool(self.kind) and due == self.at

    def die(self) -> NoReturn:
        """End here, as the fault does."""
        if self.kind == "stop":
            raise KeyboardInterrupt
        if self.kind == "power":
            for path, safe in self._sizes.values():
                if path.exists():
                    os.truncate(path, safe)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def passing(self, name: str) -> None:
        """A moment in which nothing is written."""
        if self.moment(name) and self.kind != "full":
            self.die()

    def write(self, raw: Written, data: Any) -> int:
        """Write, or break off in between."""
        name = raw.path.name
        if self.moment(f"write {name}"):
            done = os.write(raw.fileno(), bytes(data)[: int(self.part * len(data))])
            if self.kind == "full":
                raise OSError(errno.ENOSPC, "No space left on device", str(raw.path), done)
            self.die()
        written = os.write(raw.fileno(), data)
        self.passing(f"written {name}")
        return written

    def _opened(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        inside = isinstance(file, (str, Path)) and self.folder in Path(file).absolute().parents
        if mode not in ("w", "wb", "a", "ab") or not inside:
            return _open(file, mode, *args, **options)
        raw = Written(self, Path(file), mode[0])
        state = os.fstat(raw.fileno())
        # The number of a file that is gone may be given to a new one.
        if self._sizes.get(state.st_ino, (None,))[0] != raw.path or mode == "w":
            self._sizes[state.st_ino] = raw.path, state.st_size
        return raw if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")

    def _synced(self, descriptor: int) -> None:
        known = os.fstat(descriptor)
        path = self._sizes.get(known.st_ino, (Path("folder"), 0))[0]
        self.passing(f"fsync {path.name}")
        _fsync(descriptor)
        if known.st_ino in self._sizes:
            self._sizes[known.st_ino] = path, known.st_size
        self.passing(f"fsynced {path.name}")

    def _replaced(self, source: Any, target: Any) -> None:
        self.passing(f"replace {Path(target).name}")
        number = os.stat(source).st_ino
        _replace(source, target)
        if number in self._sizes:
            self._sizes[number] = Path(target), self._sizes[number][1]
        self.passing(f"replaced {Path(target).name}")


class Written(io.FileIO):
    """A file whose writes pass a fault."""

    def __init__(self, faults: Faults, path: Path, mode: str) -> None:
        super().__init__(str(path), mode)
        self.path, self._faults = path, faults

    def write(self, data: Any) -> int:
        """Write, as the fault lets it."""
        return self._faults.write(self, data)
