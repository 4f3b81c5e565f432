"""Checkpoints of paused trainings, from which any worker can resume.

A checkpoint is a safetensors file: weights and their moving average, the optimizer's moments, the
kept epoch's weights, the state of torch's generator, and JSON in the header. A resumed training
gives the same bits as one without a pause. The header also holds the identity of the training,
and a training of another identity does not resume from the file.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from evonas.core.files import draft_of
from evonas.estimation.training.cuda_graphs import Graphs
from evonas.estimation.training.identity import differences, identity
from evonas.estimation.training.training import Training, restore
from evonas.models.files.safetensors_files import load_file, load_notes, save_file

#: Seconds of training that a killed process loses at most, apart from its last epoch.
SECONDS_AT_RISK = 10.0
_log = logging.getLogger("evonas")
_LISTED = 5  # differences that a message lists


def pause(training: Training, path: Path) -> None:
    """Save a training and its identity to a checkpoint, in one step.

    Raises:
        OSError: the file cannot be written.
        SafetensorError: a tensor cannot be stored.
    """
    tensors = {
        **_named("module", training.module.state_dict()),
        **_named("average", training.average.module.state_dict()),
        **_named("kept", training.outcome.state),
        "generator.cpu": torch.get_rng_state(),
    }
    if training.device != "cpu":
        tensors["generator.device"] = torch.cuda.get_rng_state(training.device)
    for number, moments in training.step.optimizer.state_dict()["state"].items():
        tensors |= _named(f"optimizer.{number}", moments)
    plain = {
        "epoch": training.epoch,
        "best": training.best,
        "best_epoch": training.best_epoch,
        "average_steps": training.average.steps,
        "metrics": training.outcome.metrics,
        "history": training.outcome.history,
        "first_loss": training.outcome.first_loss,
        "rng": training.rng.bit_generator.state,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = {"training": json.dumps(plain), "identity": json.dumps(identity(training))}
    whole = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with draft_of(path) as draft:
        save_file(whole, draft, notes)


def pause_if_possible(training: Training, path: Path) -> None:
    """Save a training; if it cannot be saved, it will start anew where it would resume."""
    with suppress(OSError, SafetensorError):
        pause(training, path)


def run_safely(
    training: Training,
    path: Path,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
    graphs: Graphs | None = None,
) -> None:
    """Train to the end, saving the training every few seconds and at the end.

    Args:
        training: a training, which may have resumed.
        path: of the checkpoint.
        on_epoch, graphs: see ``Training.run``.

    Raises:
        Diverged: loss or outputs became nan or infinite.
    """
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if training.over or time.monotonic() - saved >= SECONDS_AT_RISK:
            pause_if_possible(training, path)
            saved = time.monotonic()

    if not training.over:  # one call for all epochs, whose steps are then one graph on a GPU
        training.run(on_epoch=on_epoch, graphs=graphs, after=save)


def resume(training: Training, path: Path, most: int | None = None) -> bool:
    """Load a checkpoint of the same identity into a new training.

    Args:
        training: at its start.
        path: of the checkpoint; it need not exist.
        most: most epochs that the checkpoint may have; None: any number.

    Returns:
        Whether the checkpoint was loaded. If it is missing, damaged or of another training, the
        training is unchanged and gives the same result from the start.
    """
    try:
        notes = load_notes(path)
        if not _same(training, json.loads(notes.get("identity", "{}")), path):
            return False
        plain: dict[str, Any] = json.loads(notes["training"])
        if most is not None and plain["epoch"] > most:
            return False
        tensors = load_file(path)
        own = training.step.optimizer.state_dict()
        moments = {
            number: _part(tensors, f"optimizer.{number}")
            for group in own["param_groups"]
            for number in group["params"]
        }
        states = [_part(tensors, name) for name in ("module", "average")]
        fit = [
            {key: value.shape for key, value in state.items()}
            == {key: value.shape for key, value in module.state_dict().items()}
            for state, module in zip(
                states, (training.module, training.average.module), strict=True
            )
        ]
        if not all(fit) or not all(moments.values()):
            return False
        training.rng.bit_generator.state = plain["rng"]
    except FileNotFoundError:
        return False
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s: a paused training cannot be read: it starts anew (%s)", path, error)
        return False
    restore(training.module, states[0])
    restore(training.average.module, states[1])
    training.average.steps = int(plain["average_steps"])
    training.step.optimizer.load_state_dict({**own, "state": moments})
    training.epoch, training.best = int(plain["epoch"]), float(plain["best"])
    training.best_epoch = int(plain["best_epoch"])
    training.outcome.metrics, training.outcome.history = plain["metrics"], plain["history"]
    training.outcome.first_loss = float(plain["first_loss"])
    training.outcome.state = _part(tensors, "kept")
    torch.set_rng_state(tensors["generator.cpu"])
    if training.device != "cpu":
        torch.cuda.set_rng_state(tensors["generator.device"], training.device)
    return True


def _same(training: Training, stored: object, path: Path) -> bool:
    """Return whether a stored identity is that of a training; log the differences."""
    known = stored if isinstance(stored, dict) else {}
    found = differences(known, identity(training)) if known else ["it has no identity"]
    if found:
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        _log.warning(
            "%s: a paused training of another run: it starts anew (what differs: %s)",
            path,
            ", ".join(found[:_LISTED]) + more,
        )
    return not found


def _named(prefix: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
