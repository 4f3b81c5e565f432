"""TensorBoard: curves over the trainings, a text and the epochs of each, in RUN/tensorboard.

`tensorboard --logdir RUN/tensorboard` shows them. Written with tensorboard's own writer, which
needs neither torch nor TensorFlow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from evonas.runs.loggers.base import Logger
from evonas.runs.run_store import Trial
from evonas.runs.training_curves import epochs


class TensorBoard(Logger):
    """Event files; one event a training, so that none is there by half.

    Training loss and error of each epoch are in ``trials/DIGEST``, which TensorBoard shows as a
    run of its own, as ``epoch/train_loss`` and ``epoch/error``.

    Args:
        folder: of the run.
        hparams: whether the genes of each network go into the tab HPARAMS as well.
    """

    needs: ClassVar[tuple[str, str]] = ("tensorboard", "evonas[tensorboard]")

    def __init__(self, folder: Path, hparams: bool = False) -> None:
        super().__init__(folder)
        self._place, self._hparams = folder / "tensorboard", hparams
        self._writer: Any = None
        self._winner = ""

    def begin(self, experiment: Mapping[str, Any]) -> int:
        """Open a new event file beside those that are there; see ``Logger.begin``."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        last = self._last()
        self._writer = EventFileWriter(str(self._place))
        if not last:
            self._write(0, {}, {"experiment": f"```\n{json.dumps(experiment, indent=1)}\n```"})
        return last

    def trial(self, step: int, trial: Trial, values: Mapping[str, float]) -> None:
        """Write one event; see ``Logger.trial``."""
        about: dict[str, Any] = {
            "digest": trial.digest,
            "status": trial.status,
            "error": trial.error,
        }
        about |= {**values, **trial.architecture.get("settings", {})}
        self._write_epochs(trial)
        self._write(step, values, {"trial": _table(about)})
        if self._hparams and trial.succeeded:
            self._write_hparams(trial, values)

    def finish(self, step: int, winner: Mapping[str, Any], file: Path) -> None:
        """Write the winner as a text, unless the log ends with it; see ``Logger.finish``."""
        settings = winner["architecture"].get("settings", {})
        told = {key: winner[key] for key in ("digest", "fitness", "macs", "params", "seeds")}
        text = _table({**told, **winner["metrics"], **settings})
        if text != self._winner:
            self._write(step, {}, {"winner": text})

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, step: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb

        summary = Summary()
        for name, value in values.items():
            summary.value.add(tag=name, simple_value=value)
        for name, text in texts.items():
            summary.value.extend(text_pb(name, text).value)
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def _write_epochs(self, trial: Trial) -> None:
        """Write training loss and error of each epoch; one folder a network lets them overlay."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        rows = list(epochs(trial))
        if not rows:
            return
        writer = EventFileWriter(str(self._place / "trials" / trial.digest))
        for epoch, values in rows:
            summary = Summary()
            for name, value in values.items():
                summary.value.add(tag=f"epoch/{name}", simple_value=value)
            writer.add_event(Event(wall_time=time.time(), step=epoch, summary=summary))
        writer.close()

    def _write_hparams(self, trial: Trial, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        summary = Summary()
        for name in values.keys() - {"best_fitness"}:
            summary.value.add(tag=name, simple_value=values[name])
        genes = hparams_pb(dict(trial.architecture.get("settings", {})), trial.digest)
        writer = EventFileWriter(str(self._place / "trials" / trial.digest))
        for content in (genes, summary):
            writer.add_event(Event(wall_time=time.time(), step=0, summary=content))
        writer.close()

    def _last(self) -> int:
        """Return the last step that the event files hold; note the winner that they tell."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        if not self._place.is_dir():
            return 0
        known = EventAccumulator(str(self._place), {"scalars": 0, "tensors": 0})
        known.Reload()
        tags = known.Tags()
        if "winner" in tags["tensors"]:
            events = known.Tensors("winner")  # in the order of files, which is not that of time
            last = max(events, key=lambda event: (event.step, event.wall_time))
            told = last.tensor_proto.string_val[0]
            self._winner = told.decode()
        if "seconds" not in tags["scalars"]:
            return 0
        return max(int(event.step) for event in known.Scalars("seconds"))


def _table(rows: Mapping[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {key} | {_cell(value)} |" for key, value in rows.items() if value != ""]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
