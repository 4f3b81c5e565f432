"""Weight inheritance: choose each candidate's parent and keep the parents' weights.

McNally et al. (2021, arXiv 2011.08446): a child of a search starts with the weights of its
parent, as far as the two overlap, and needs a fraction of the epochs. This works with every
strategy. A strategy that makes children from parents names the parents; with any other, the
parent is the network of an earlier generation from which most weights can be inherited. Weights
of possible parents lie in the run directory, so that a resumed run has them.
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
from evonas.space.recipe import task_choices

_log = logging.getLogger("evonas")
_REMEMBERED = 256  # networks whose shapes are kept: several generations and their parents


@runtime_checkable
class TracksParents(Protocol):
    """Optimizer that makes children from parents."""

    def parent_of(self, digest: str) -> str:
        """Return the digest of a network's parent; empty if there was none."""

    def living(self) -> frozenset[str]:
        """Return the digests of the networks that may still become parents."""


@dataclass(frozen=True)
class _Known:
    """A possible parent."""

    fitness: float
    architecture: Architecture


class WeightInheritance:
    """Weight inheritance of a search.

    Args:
        settings: whether and how weights are inherited.
        optimizer: the strategy, asked for parents if it is a ``TracksParents``.
        shapes: architecture -> name -> shape of the tensors of its network.
        training: training of a network with inherited weights.
        folder: holds the weights; made with the first of them.

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
        self._tracker = optimizer if isinstance(optimizer, TracksParents) else None
        # Looked up for every pair of a candidate and a possible parent.
        self._shapes = lru_cache(_REMEMBERED)(shapes)
        self._folder = folder.absolute()
        self._known: dict[str, _Known] = {}  # the best first
        self._gone: set[str] = set()
        longer = settings.fresh_epochs if settings.enabled else 0
        self.fresh = training.model_copy(update={"epochs": longer or training.epochs})

    def parent(self, child: Trial) -> str:
        """Return the digest of a new network's parent; empty if there is none."""
        if self._tracker is not None:
            return self._tracker.parent_of(child.digest)
        if not self._settings.enabled or not self._known:
            return ""
        return self._nearest(Architecture.from_dict(child.architecture))

    def job(self, job: Job, parent: str) -> Job:
        """Return a job that starts with the weights of a parent, as far as they fit.

        Even a small part is a better start than none, but training is shorter only with at least
        the fraction ``least`` of the weights.
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
        other = task_choices(self._known[parent].architecture) != task_choices(job.architecture)
        file = str(self._file(parent))
        return replace(job, parent=file, training=training, fresh_outputs=other)

    def learn(self, generation: Iterable[Trial]) -> None:
        """Add the networks of a finished generation to the possible parents."""
        for trial in generation if self._settings.enabled else ():
            if trial.status == "ok" and trial.fitness is not None:
                architecture = Architecture.from_dict(trial.architecture)
                self._known[trial.digest] = _Known(trial.value, architecture)
        order = sorted(self._known, key=lambda digest: self._known[digest].fitness)
        most = self._settings.keep
        living = self._tracker.living() if self._tracker is not None else order[:most]
        # The best stays, also where the strategy has dropped it: the search is for it.
        kept = {*living, *order[:1]}
        self._known = {digest: self._known[digest] for digest in order if digest in kept}

    def clear_away(self) -> None:
        """Remove the weights of networks that are no possible parents any more, and drafts."""
        if not self._settings.enabled:
            return
        kept = {self._file(digest) for digest in self._known}
        for path in self._folder.glob("*.safetensors*"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _has(self, parent: str) -> bool:
        """Whether the weights of a parent are present and undamaged."""
        if parent not in self._known:
            return False
        file = self._file(parent)
        if intact(file):
            return True
        if parent not in self._gone:
            self._gone.add(parent)
            what = "damaged" if file.exists() else "gone"
            text = "%s: a parent's weights are %s: its children start from random weights"
            _log.warning(text, file, what)
        return False

    def _nearest(self, child: Architecture) -> str:
        """Return the possible parent with the largest overlap; the best of equal ones."""
        return max(self._known, key=lambda digest: self._overlap(digest, child))

    def _overlap(self, parent: str, child: Architecture) -> tuple[bool, float]:
        """Return whether two networks have the same tap, and the fraction of inherited parameters.

        Feature maps of another tap mean something else, whatever the fraction.
        """
        other = self._known[parent].architecture
        same = other.settings.get("tap") == child.settings.get("tap")
        return same, heritable(self._shapes(child), self._shapes(other)).share

    def _file(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"
