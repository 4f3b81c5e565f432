"""The feature cache: what cached features take, and how they are removed."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evonas.core.description import size
from evonas.core.experiment import Experiment
from evonas.core.settings import FeatureSettings
from evonas.errors import InputError
from evonas.estimation.features.cache_files import in_use, origin_of, remove_unused
from evonas.report.tables import Table

_NAME = re.compile(r"[0-9a-f]{32}\.npy")
_DAY = 24 * 3600.0
#: What evonas keeps beside features in the folder: timings of networks.
_BESIDE = "latency"


@dataclass(frozen=True)
class CachedFeatures:
    """One file of the feature cache: the maps of one tap in one view.

    Attributes:
        file: with the maps, (n, channels, height, width) in 16 bits.
        backbone, data: registered name, and the first digits of the fingerprint; ``unknown`` of
            a file that was written before this was noted.
        tap, view: names.
        bytes: size of the file.
        days: since a process last used it.
        used: whether a process of this machine uses it now.
    """

    file: Path
    backbone: str
    data: str
    tap: str
    view: str
    bytes: int
    days: float
    used: bool


@dataclass(frozen=True)
class CacheListing:
    """What a feature cache holds.

    Attributes:
        folder: of the cache.
        files: those listed, by backbone, data, tap and view.
    """

    folder: Path
    files: tuple[CachedFeatures, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(one.bytes for one in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        files = [asdict(one) | {"file": str(one.file)} for one in self.files]
        return {"folder": str(self.folder), "bytes": self.bytes, "files": files}

    @property
    def table(self) -> Table:
        """A row for each backbone, data set and tap; views that are there are listed in it."""
        groups: dict[tuple[str, str, str], list[CachedFeatures]] = {}
        for one in self.files:
            groups.setdefault((one.backbone, one.data, one.tap), []).append(one)
        rows = [
            [
                *key,
                ", ".join(sorted({one.view for one in some})),
                size(sum(one.bytes for one in some)),
                f"{min(one.days for one in some):.1f}",
                "yes" if any(one.used for one in some) else "no",
            ]
            for key, some in groups.items()
        ]
        total = f"{size(self.bytes)} in {len(self.files)} files of {self.folder}"
        columns = ["backbone", "data", "tap", "views", "size", "days unused", "in use"]
        return Table("Cached features", columns, rows, [total], names=4)


@dataclass(frozen=True)
class ClearedCache:
    """What was removed from a feature cache.

    Attributes:
        removed: files that are gone.
        used: files that a process uses, which were left.
    """

    removed: tuple[CachedFeatures, ...]
    used: tuple[CachedFeatures, ...]

    @property
    def bytes(self) -> int:
        """Bytes that were freed."""
        return sum(one.bytes for one in self.removed)

    def __str__(self) -> str:
        left = f"; left {len(self.used)} that a running process uses" if self.used else ""
        return f"removed {len(self.removed)} files, {size(self.bytes)}{left}"


def list_cache(
    source: Experiment | str | Path | None = None, *, older_than: float = 0.0
) -> CacheListing:
    """Return what a feature cache holds, and how large and how old it is.

    Args:
        source: an experiment, whose cache is listed; or the folder. None: the default folder.
        older_than: list only what no process used for so many days.

    Raises:
        InputError: there is no such folder, or it is no feature cache.

    Examples:
        >>> evonas.list_cache().bytes
        275251200
    """
    if not older_than >= 0:
        raise InputError(f"older_than: expected at least 0 days, got {older_than}")
    default = Path(FeatureSettings().cache).expanduser()
    given = source.features.cache if isinstance(source, Experiment) else source
    folder = default if given is None else Path(given).expanduser()
    if not folder.is_dir() and not (folder == default or isinstance(source, Experiment)):
        raise InputError(f"feature cache {folder}: there is no such folder")
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [path for path in entries if _NAME.fullmatch(path.name) and path.is_file()]
    if entries and not files and not (folder / _BESIDE).is_dir() and folder != default:
        raise InputError(
            f"feature cache {folder}: expected a folder of cached features, it holds "
            f"{len(entries)} other files and none of these: nothing was changed"
        )
    listed = [_entry(path) for path in files]
    chosen = [one for one in listed if one.days >= older_than]
    chosen.sort(key=lambda one: (one.backbone, one.data, one.tap, one.view))
    return CacheListing(folder, tuple(chosen))


def clear_cache(
    source: Experiment | str | Path | None = None, *, older_than: float = 0.0
) -> ClearedCache:
    """Remove cached features that no process uses; a search computes them again.

    Only files of the feature cache are touched. What a running search or retraining of this
    machine uses stays.

    Args:
        source: an experiment, whose cache is cleared; or the folder. None: the default folder.
        older_than: remove only what no process used for so many days.

    Raises:
        InputError: there is no such folder, it is no feature cache, or a file cannot be removed.

    Examples:
        >>> evonas.clear_cache(older_than=30).bytes
        275251200
    """
    removed: list[CachedFeatures] = []
    used: list[CachedFeatures] = []
    for one in list_cache(source, older_than=older_than).files:
        try:
            (removed if remove_unused(one.file) else used).append(one)
        except FileNotFoundError:  # somebody else cleared it
            continue
        except OSError as error:
            raise InputError(f"{one.file}: cannot be removed ({error.strerror})") from error
    return ClearedCache(tuple(removed), tuple(used))


def _entry(path: Path) -> CachedFeatures:
    state, origin = path.stat(), origin_of(path)
    return CachedFeatures(
        file=path,
        **{key: origin.get(key, "unknown") for key in ("backbone", "data", "tap", "view")},
        bytes=state.st_size,
        days=max(0.0, time.time() - state.st_mtime) / _DAY,
        used=in_use(path),
    )
