"""Decode, crop and hash photos, and cache what was read from many files."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evonas.core.files import reading, write_file
from evonas.errors import UnreadableImage

#: Bytes of an image's hash; a collision among a million images has a probability of 3e-8.
HASH_BYTES = 8
#: Endings of the names of images.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})

Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels


def read_photo(path: Path, upright: bool = False) -> Image.Image:
    """Return a photo as RGB.

    Args:
        path: path of the file.
        upright: whether to apply the orientation of the EXIF data; not for files whose labels
            are in pixels of the stored image.

    Raises:
        UnreadableImage: the file is missing or damaged.
    """
    try:
        with Image.open(path) as photo:
            turned = ImageOps.exif_transpose(photo) if upright else photo
            return turned.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path}: cannot be decoded ({error})") from error


def crop(photo: Image.Image, box: Box, width: int, height: int) -> NDArray[np.uint8]:
    """Return a box of a photo as (height, width, 3), black outside the photo, antialiased."""
    left, top, right, bottom = box
    outer = (int(np.floor(left)), int(np.floor(top)), int(np.ceil(right)), int(np.ceil(bottom)))
    inner = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    part = photo.crop(outer)
    return np.asarray(part.resize((width, height), Image.Resampling.BICUBIC, box=inner))


def sampled(photo: Image.Image, square: Box, side: int) -> NDArray[np.uint8]:
    """Return a square of a photo as (side, side, 3), black outside the photo, not antialiased.

    Each pixel is a bicubic interpolation at one position of the photo.
    """
    left, top, right, _ = square
    scale = (right - left) / side
    part = photo.transform(
        (side, side),
        Image.Transform.AFFINE,
        (scale, 0.0, left, 0.0, scale, top),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(part)


def squared(box: Box) -> Box:
    """Return the smallest square around a box, with the same centre."""
    left, top, right, bottom = box
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2
    return (x - half, y - half, x + half, y + half)


def widened(box: Box, margin: float) -> Box:
    """Return an enlarged box: ``margin`` of its side, at each edge, is outside the given box."""
    left, top, right, bottom = box
    x, y = (right - left) * margin / (1 - 2 * margin), (bottom - top) * margin / (1 - 2 * margin)
    return (left - x, top - y, right + x, bottom + y)


def remembered(
    key: str, files: Sequence[Path], make: Callable[[], Mapping[str, NDArray[np.generic]]]
) -> dict[str, NDArray[np.generic]]:
    """Return the result of ``make``, cached on disk until one of ``files`` changes.

    Reading the labels of a hundred thousand files takes minutes, comparing their sizes and times
    a second. The cache is an .npz file without pickles in the user's cache folder; if it cannot
    be read or written, ``make`` is called.

    Args:
        key: reader, version and options that determine the result.
        files: all files that are read.
        make: returns name -> array; text as fixed-width unicode.

    Raises:
        InputError: a file is missing.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    for path in files:
        with reading(path):
            state = path.stat()
        digest.update(f"{path.absolute()}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "evonas" / "labels"
    cache = folder / f"{digest.hexdigest()}.npz"
    try:
        with np.load(cache, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    made, content = dict(make()), io.BytesIO()
    np.savez(content, **made)  # type: ignore[arg-type]
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(cache, content.getvalue())
    return made


def file_digests(files: Sequence[Path]) -> list[bytes]:
    """Return the BLAKE2b digest of each file's content.

    The digests are cached until a file changes, and used for fingerprint and image hashes.

    Raises:
        InputError: a file cannot be read.
    """
    unique = list(dict.fromkeys(files))

    def read() -> dict[str, NDArray[np.generic]]:
        rows = [np.frombuffer(_digest(path), np.uint8) for path in unique]
        return {"digests": np.array(rows, np.uint8)}

    rows = remembered("file digests 1", unique, read)["digests"]
    digests = dict(zip(unique, rows, strict=True))
    return [digests[path].tobytes() for path in files]


def file_hashes(files: Sequence[Path]) -> NDArray[np.str_]:
    """Return a short hash of each file's content, (n,); see ``Dataset.image_hashes``.

    Raises:
        InputError: a file cannot be read.
    """
    return np.array([digest[:HASH_BYTES].hex() for digest in file_digests(files)], np.str_)


def content_hash(version: str, files: Sequence[Path]) -> str:
    """Return a hash of a version text and of the content of files, in their order.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.blake2b(version.encode(), digest_size=16)
    for content in file_digests(files):
        digest.update(content)
    return digest.hexdigest()


def _digest(path: Path) -> bytes:
    with reading(path):
        return hashlib.blake2b(path.read_bytes()).digest()
