"""Trial: a genome that the optimizer asked for and its result, a line of the journal."""

from __future__ import annotations

import math
from operator import attrgetter
from sys import intern
from typing import Annotated, Any

import msgspec

from evonas.space.architecture import Plain

#: Of a figure of a trial: squares and sums of what is beyond are infinite.
LARGEST = 1e300
_WHOLE = 2**53  # up to here a float holds every number
Whole = Annotated[int, msgspec.Meta(ge=-_WHOLE, le=_WHOLE)]
Number = Whole | float  # as it was written: 1 does not come back as 1.0


class Trial(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A genome that the optimizer asked for, and its result.

    Attributes:
        generation, index: which ask, and which row of it; with a window of asks 0, and which ask.
        genome: as asked.
        digest, architecture: what it decodes to.
        status: ``ok``, ``failed``, ``repeat`` (known from an earlier trial),
            ``infeasible`` (over a hard limit, not trained), ``stopped`` (trained for the
            first rung of a race alone; its fitness is that of the worst that went on, or
            worse), ``final`` (trained again with
            another seed, in the place of the trial that it repeats); and, in generation
            -1, ``earlier`` (taken over from another run), ``suggested`` (by one, without
            a result that would hold here) or ``design`` (hand-made, to be trained first).
        fitness: None unless finite.
        macs, params: of the head network.
        latency: of the head network, milliseconds for one image; 0: not measured.
        latency_noise: half the interquartile range of its passes, as a share of it.
        repeat: which further seed of a ``final``, from 1; else 0.
        fold: which fold of the images judged a ``final``, from 1; 0: the validation images of the
            search.
        epochs: that it trained.
        rung: fitness at the first rung; None where there was no race.
        parent: digest of the parent network; empty: none.
        inherited: fraction of its parameters that were inherited from the parent, 0..1.
        curve: the error on the validation split after each epoch.
        losses: the mean loss on the training images of each epoch, 6 significant digits.
        at: seconds that the run had been searching when the trial ended, over all its starts.
        seconds: of the training; 0 for a trial without one.
        metrics: of the validation split.
        error: kind and one line; empty if ok.
    """

    generation: Whole
    index: Whole
    genome: tuple[float, ...]
    digest: str
    architecture: Plain
    status: str
    fitness: Number | None
    macs: Whole
    params: Whole = 0
    seconds: Number = 0.0
    metrics: dict[str, Number] = {}
    error: str = ""
    latency: Number = 0.0
    latency_noise: Number = 0.0
    repeat: Whole = 0
    epochs: Whole = 0
    rung: Number | None = None
    parent: str = ""
    inherited: Number = 0.0
    curve: tuple[Number, ...] = ()
    losses: tuple[Number, ...] = ()
    fold: Whole = 0
    at: Number = 0.0

    def __eq__(self, other: object) -> bool:
        """Whether all values but ``at`` are equal."""
        return isinstance(other, Trial) and _values(self)[:-1] == _values(other)[:-1]

    __hash__ = None  # type: ignore[assignment]  # it holds mappings

    @staticmethod
    def from_line(line: bytes) -> Trial:
        """Return the trial of a line of the journal: the JSON of ``row``.

        Raises:
            ValueError: it is none; a line may have been damaged by anyone.
        """
        trial = _decode(line)
        settings = trial.architecture["settings"]
        for name, value in settings.items():
            if type(value) is str:  # "relu" stands in thousands of lines, and once in memory
                settings[name] = intern(value)
        return trial

    @property
    def place(self) -> tuple[int, int, int]:
        """Generation, index and repeat, by which trials are sorted."""
        return self.generation, self.index, self.repeat

    def row(self) -> dict[str, Any]:
        """Return values by name, as a line of the journal holds them; none is copied.

        Without training losses it has no ``losses``, and without a fold no ``fold``, like the
        lines of earlier versions.
        """
        row = dict(zip(_NAMES, _values(self), strict=True))
        for name in ("losses", "fold"):
            if not row[name]:
                del row[name]
        return row

    @property
    def value(self) -> float:
        """The fitness, infinite where there is none."""
        return math.inf if self.fitness is None else self.fitness

    @property
    def trained(self) -> bool:
        """Whether the trial cost a training."""
        return self.status in ("ok", "failed", "stopped")

    @property
    def settled(self) -> bool:
        """Whether further trials of the network repeat this one: trained, or measured too slow."""
        return self.trained or (self.status == "infeasible" and self.latency > 0)

    @property
    def succeeded(self) -> bool:
        """Whether the trial has a result of its own that the search may choose."""
        return self.status in ("ok", "earlier") and self.fitness is not None


_NAMES = Trial.__struct_fields__
_values = attrgetter(*_NAMES)
_decode = msgspec.json.Decoder(Trial).decode
