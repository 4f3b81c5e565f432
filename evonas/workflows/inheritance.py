"""Who takes after whom: parents of new networks, and the weights of those that may become one.

McNally et al. (2021, arXiv 2011.08446): a child of a search starts with the weights of its
parent, as far as the two overlap, and needs a fraction of the epochs. Here that serves every
strategy. One that makes children from parents says who they are; for any other the nearest
network that was trained in an earlier generation is the parent: the one that most can be taken
from. Weights of those that may yet be asked for lie in the run's folder, so that a resumed run
finds them again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from evonas.core.settings import InheritanceSettings, TrainingSettings
from evonas.errors import RunError
from evonas.estimation.estimator import Job
from evonas.models.files.safetensors_files import intact
from evonas.models.weight_inheritance import Shape, heritable
from evonas.optimizers.base import Optimizer
from evonas.runs.run_store import Trial
from evonas.space import Architecture

_log = logging.getLogger("evonas")
_REMEMBERED = 256  # networks whose shapes are kept: several generations and their parents


@runtime_checkable
class TracksParents(Protocol):
    """A strategy that knows of its networks which one each was made from."""

    def parent_of(self, digest: str) -> str:
        """Return the digest of the parent; empty if there was none."""

    def living(self) -> frozenset[str]:
        """Return the digests of those that may yet become parents."""


@dataclass(frozen=True)
class _Known:
    """A possible parent."""

    fitness: float
    architecture: Architecture


class WeightInheritance:
    """The parents of one search.

    Args:
        settings: whether weights are inherited.
        optimizer: of the search.
        shapes: of the tensors of an architecture's network, by name.
        training: of a network that has a parent's weights.
        folder: for weights; made when the first are kept.

    Attributes:
        fresh: the training of a network that starts without a parent's weights.
    """

    def __init__(
        self,
        settings: InheritanceSettings,
        optimizer: Optimizer,
        shapes: Callable[[Architecture], Mapping[str, Shape]],
        training: TrainingSettings,
        folder: Path,
    ) -> None:
        self._settings = settings
        self._breeder = optimizer if isinstance(optimizer, TracksParents) else None
        # Looked up for every pair, and only of networks that come into question.
        self._shapes = lru_cache(_REMEMBERED)(shapes)
        self._folder = folder.absolute()
        self._known: dict[str, _Known] = {}  # the best first
        self._gone: set[str] = set()
        longer = settings.fresh_epochs if settings.enabled else 0
        self.fresh = training.model_copy(update={"epochs": longer or training.epochs})

    def parent(self, child: Trial) -> str:
        """Return the digest of a new network's parent; empty if there is none."""
        if self._breeder is not None:
            return self._breeder.parent_of(child.digest)
        if not self._settings.enabled or not self._known:
            return ""
        return self._nearest(Architecture.from_dict(child.architecture))

    def job(self, job: Job, parent: str) -> Job:
        """Return a job that starts with what there is of a parent, and trains as long as it needs.

        Even a small part is a better start than none, but only who has most of a trained
        network is done in fewer epochs.
        """
        if not self._settings.enabled:
            return job
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self._folder}: cannot be made ({error.strerror}): mend this, then go on with "
                f"--resume; nothing that is done is lost"
            ) from error
        job = replace(job, weights=str(self._file(job.architecture.digest)))
        if not self._has(parent):
            return replace(job, training=self.fresh)
        same, share = self._overlap(parent, job.architecture)
        enough = same and share >= self._settings.least
        training = job.training if enough else self.fresh
        return replace(job, parent=str(self._file(parent)), training=training)

    def learn(self, generation: Iterable[Trial]) -> None:
        """Take note of a generation that is done: from now on its networks may be parents."""
        for trial in generation if self._settings.enabled else ():
            if trial.status == "ok" and trial.fitness is not None:
                architecture = Architecture.from_dict(trial.architecture)
                self._known[trial.digest] = _Known(trial.value, architecture)
        order = sorted(self._known, key=lambda digest: self._known[digest].fitness)
        most = self._settings.keep
        living = self._breeder.living() if self._breeder is not None else order[:most]
        # The best stays, whatever a strategy thinks of it: it is what the search is for.
        kept = {*living, *order[:1]}
        self._known = {digest: self._known[digest] for digest in order if digest in kept}

    def clear_away(self) -> None:
        """Remove the weights of those that can be parents no more, and what was half written."""
        if not self._settings.enabled:
            return
        kept = {self._file(digest) for digest in self._known}
        for path in self._folder.glob("*.safetensors*"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _has(self, parent: str) -> bool:
        """Whether the weights of a parent are there, as they were written."""
        if parent not in self._known:
            return False
        file = self._file(parent)
        if intact(file):
            return True
        if parent not in self._gone:
            self._gone.add(parent)
            what = "damaged" if file.exists() else "gone"
            _log.warning("%s: a parent's weights are %s: its children start afresh", file, what)
        return False

    def _nearest(self, child: Architecture) -> str:
        """Return whom a network can take most from; the best among equals."""
        return max(self._known, key=lambda digest: self._overlap(digest, child))

    def _overlap(self, parent: str, child: Architecture) -> tuple[bool, float]:
        """Return whether a known network stands on the same tap, and what share it has to give.

        Maps of another tap mean something else, whatever the share.
        """
        other = self._known[parent].architecture
        same = other.settings.get("tap") == child.settings.get("tap")
        return same, heritable(self._shapes(child), self._shapes(other)).share

    def _file(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"
