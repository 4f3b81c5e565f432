"""Read and write videos frame by frame with PyAV, the binding of FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evonas.core.files import draft_of, writing
from evonas.core.optional_imports import library
from evonas.errors import InputError, one_line

#: Endings of the names of videos that are read.
SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
#: Suffix of a written video -> its codec.
CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
_TICK = Fraction(1, 90_000)  # unit of time of a written video, seconds
#: A container may name other files and addresses; only files are opened.
_LOCAL = {"protocol_whitelist": "file"}
_REMEDY = "convert it to .mp4 (H.264)"


def is_video(path: Path) -> bool:
    """Return whether a path has the ending of a video."""
    return path.suffix.lower() in SUFFIXES


def _pyav() -> Any:
    return library("av", "reading and writing videos", "video")


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        number: position in the video, from 0.
        time: moment at which it is shown, seconds.
        picture: RGB, turned upright.
    """

    number: int
    time: float
    picture: Image.Image


@dataclass(frozen=True)
class Video:
    """A video file that was opened once and has frames.

    Attributes:
        path: the file.
        width, height: size of the upright frames, pixels.
        rate: frames per second, on average.
        count: number of frames, from the packets of the file.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    count: int

    @classmethod
    def open(cls, path: Path) -> Video:
        """Read size, rate and number of frames of a video; only the first frame is decoded.

        Raises:
            InputError: there is no such file, it is no video or has no frames; or PyAV is missing.
        """
        first = next(frames(path), None)
        if first is None:
            raise InputError(f"{path}: expected a video, it has no frames: {_REMEDY}")
        av = _pyav()
        with av.open(str(path), options=_LOCAL) as container:
            stream = container.streams.video[0]
            rate = Fraction(stream.average_rate or 25)
            count = sum(1 for packet in container.demux(stream) if packet.size)
        return cls(path, *first.picture.size, rate, count)


def frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video, turned as its container says.

    Raises:
        InputError: there is no such file, it is no video, or it is damaged; or PyAV is missing.
    """
    av = _pyav()
    if not path.is_file():
        raise InputError(f"{path}: expected a video, there is no such file")
    number = 0
    try:
        with av.open(str(path), options=_LOCAL) as container:
            if not container.streams.video:
                raise InputError(f"{path}: expected a video, it has no pictures: {_REMEDY}")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                time = number / float(stream.average_rate or 25)
                if frame.time is not None:
                    time = float(frame.time)
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield Frame(number, time, Image.fromarray(np.ascontiguousarray(pixels)))
                number += 1
    except (av.FFmpegError, OSError, ValueError) as error:
        where = f"after frame {number - 1}" if number else "as a video"
        raise InputError(
            f"{path}: cannot be read {where} ({one_line(error)}): {_REMEDY}"
        ) from error


def check_output(path: Path, video: Video) -> None:
    """Refuse a file that ``video_writer`` could not write.

    Raises:
        InputError: its suffix is none of ``CODECS``, it is the video itself, its folder does not
            exist, or the frames are too small.
    """
    if path.suffix.lower() not in CODECS:
        raise InputError(
            f"--out {path}: expected a video, {', '.join(CODECS)}, got {path.suffix!r}"
        )
    if path.exists() and path.samefile(video.path):
        raise InputError(f"--out {path}: is the video itself: choose another file")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}: make it first")
    if min(video.width, video.height) < 2:
        raise InputError(f"{video.path}: expected frames of at least 2 x 2 pixels")


@contextmanager
def video_writer(path: Path, video: Video) -> Iterator[Callable[[Image.Image, float], None]]:
    """Yield a function that writes a frame: an RGB picture of the video's size, and its second.

    The file, without sound, appears at the end of the ``with`` block; also where Ctrl-C or closing
    a generator ended it, with the frames up to there. After an error there is no file. Of odd
    sizes the last row or column is left out, as H.264 needs even ones.

    Args:
        path: file to write; see ``check_output``.
        video: what is shown: gives size and rate.

    Raises:
        InputError: the file cannot be written.
    """
    av, suffix = _pyav(), path.suffix.lower()
    interrupted: BaseException | None = None
    remedy = "choose another file with --out"
    with writing(path, remedy), draft_of(path, f".draft{suffix}") as draft:
        with av.open(str(draft), "w") as container:
            stream = container.add_stream(CODECS[suffix], rate=video.rate)
            stream.width, stream.height = video.width // 2 * 2, video.height // 2 * 2
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _TICK
            last = -1

            def add(picture: Image.Image, time: float) -> None:
                nonlocal last
                shown = picture.crop((0, 0, stream.width, stream.height))
                frame = av.VideoFrame.from_image(shown)
                last = frame.pts = max(round(time / _TICK), last + 1)
                frame.time_base = _TICK
                container.mux(stream.encode(frame))

            try:
                yield add
            except (KeyboardInterrupt, GeneratorExit) as error:
                interrupted = error
            if last >= 0:
                container.mux(stream.encode(None))
        if interrupted and last < 0:
            raise interrupted
    if interrupted:
        raise interrupted
