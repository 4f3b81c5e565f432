"""``evonas.predict_video``: an exported network on the faces of a video, drawn and as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.api.exported_model import ExportedModel, load_exported
from evonas.data.images.image_io import Box
from evonas.deployment.export import prediction_drawing as answered
from evonas.deployment.export.photo_inputs import BOX
from evonas.deployment.video import video_files
from evonas.deployment.video.frame_boxes import Boxes, boxes_of
from evonas.deployment.video.frame_table import FrameTable
from evonas.deployment.video.smoothing import Smoother, Tracker
from evonas.deployment.video.video_files import Frame, Video
from evonas.errors import InputError
from evonas.report import image_drawing as drawing
from evonas.runs.callbacks import Callback, CallbackList

_BATCH = 8  # frames in memory


@dataclass(frozen=True)
class FramePrediction:
    """The answer for one face in one frame.

    Attributes:
        frame: number of the frame, from 0.
        time: moment of the frame, seconds.
        face: number of the face, the same in successive frames.
        box: left, top, right and bottom, pixels of the upright frame; None: all of it.
        answer: name -> value, as ``ExportedModel.predict`` returns it; smoothed if asked for.
        values: (k,) or (k, 3) the numbers behind the answer.
    """

    frame: int
    time: float
    face: int
    box: Box | None
    answer: dict[str, Any]
    values: NDArray[np.float32] = field(compare=False, repr=False)


def predict_video(
    model: ExportedModel | str | Path,
    video: str | Path,
    *,
    boxes: str | Path | None = None,
    out: str | Path | None = None,
    smooth: float = 0.0,
    top: int = 3,
    callbacks: Iterable[Callback] = (),
) -> Generator[FramePrediction, None, None]:
    """Run an exported network on a video; yield a prediction for each face of each frame.

    Inputs are checked at once, frames are read while the predictions are taken. Needs the extra
    ``video``.

    Args:
        model: the network, or its file, or a folder with one.
        video: file of the video; frames are turned as the file says.
        boxes: CSV with frame (from 0), left, top, right and bottom, in pixels of the upright
            frame; frames without a row are shown without an answer. ``"whole"``: each frame shows
            what a photo of the training data does. None: OpenCV finds the faces, with the extra
            ``faces``.
        out: video to write with the answers drawn on it, .mp4, .mov, .mkv or .webm, without
            sound; a CSV of the answers lies beside it. Closing the iterator early keeps what is
            finished.
        smooth: time constant of smoothing, seconds; 0: none. See ``Smoother``.
        top: classes to name, the likeliest first; the CSV has all.
        callbacks: receive progress, and a message on frames without a box.

    Raises:
        InputError: the model, the video, the table or a file to write is wrong; or a package is
            missing.

    Examples:
        >>> for one in evonas.predict_video("pose.onnx", "talk.mp4", boxes="faces.csv", smooth=0.3):
        ...     print(one.time, one.answer["yaw"])
    """
    if not (smooth >= 0 and math.isfinite(smooth)):
        raise InputError(f"--smooth {smooth}: expected seconds, at least 0")
    network = model if isinstance(model, ExportedModel) else load_exported(model)
    film, callback = Video.open(Path(video)), CallbackList(callbacks)
    places, remark = boxes_of(film, None if boxes is None else Path(boxes))
    target = None if out is None else Path(out)
    if target is not None:
        video_files.check_output(target, film)
    if remark:
        callback.on_message(remark)
    smoother = Smoother(network.answer, smooth) if smooth else None
    return _Job(network, film, places, target, smoother, top, callback).predictions()


@dataclass
class _Job:
    """One pass over a video."""

    model: ExportedModel
    video: Video
    places: Boxes
    out: Path | None
    smoother: Smoother | None
    top: int
    callback: Callback
    tracker: Tracker = field(default_factory=Tracker)
    _write: Callable[[Image.Image, float], None] | None = None
    _table: FrameTable | None = None

    def predictions(self) -> Generator[FramePrediction, None, None]:
        """Yield the predictions in the order of frames and boxes."""
        with ExitStack() as stack:
            if self.out is not None:
                self._table = stack.enter_context(FrameTable(self.out.with_suffix(".csv")))
                self._write = stack.enter_context(video_files.video_writer(self.out, self.video))
            batch: list[Frame] = []
            for frame in video_files.frames(self.video.path):
                batch.append(frame)
                if len(batch) == _BATCH:
                    yield from self._answered(batch)
                    batch = []
            if batch:
                yield from self._answered(batch)

    def _answered(self, batch: list[Frame]) -> Iterator[FramePrediction]:
        places = [self.places(frame) for frame in batch]
        cropped = [
            self.model.crop(frame.picture, box, f"{self.video.path}, frame {frame.number}")
            for frame, boxes in zip(batch, places, strict=True)
            for box in boxes
        ]
        values = iter(self.model.run([crop for crop, _ in cropped]) if cropped else ())
        inner = iter(crop for _, crop in cropped)
        for frame, boxes in zip(batch, places, strict=True):
            faces = self.tracker.numbers(
                frame.time, [box or (0, 0, *frame.picture.size) for box in boxes]
            )
            for face, box in zip(faces, boxes, strict=True):
                yield self._one(frame, face, box, next(inner), next(values))
            if self._write is not None:
                self._write(frame.picture, frame.time)
            done = frame.number + 1
            self.callback.on_progress("frames", done, max(done, self.video.count))

    def _one(
        self, frame: Frame, face: int, box: Box | None, crop: Box, values: NDArray[np.float32]
    ) -> FramePrediction:
        """Return the prediction for a face, drawn on its frame and written into the table."""
        if self.smoother is not None:
            values = self.smoother.add(face, frame.time, values)
        answer = self.model.answer
        if self._write is not None:
            words = answered.draw(frame.picture, answer, values, self.top, crop, box)
            drawing.label(frame.picture, words.splitlines(), (box or crop)[:2])
        time = round(frame.time, 4)
        if self._table is not None:
            edges = dict(zip(BOX, box or ("",) * 4, strict=True))
            every = answered.row(answer, values, len(answer.columns), crop)
            self._table.add({"frame": frame.number, "time": time, "face": face, **edges}, every)
        plain = answered.row(answer, values, self.top, crop)
        return FramePrediction(frame.number, time, face, box, plain, values)
