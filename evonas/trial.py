"""A trial: a proposal of the optimizer and what became of it, a line of the journal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from sys import intern
from typing import Annotated, Any, TypedDict

import msgspec

#: Of a figure of a trial: squares and sums of what is beyond are infinite.
LARGEST = 1e300
_WHOLE = 2**53  # the largest of which a float holds each


@dataclass(frozen=True, slots=True)  # a long run holds all of them
class Trial:
    """One proposal of the optimizer and what became of it.

    Attributes:
        generation, index: which ask, and which row of it.
        genome: as asked.
        digest, architecture: what it decodes to.
        status: ``ok``, ``failed``, ``repeat`` (known from an earlier trial),
            ``infeasible`` (over the hard limit, not trained), ``stopped`` (trained for the
            first rung of a race alone; its fitness is that of the worst that went on, or
            worse), ``final`` (trained again with
            another seed, in the place of the trial that it repeats); and, in generation
            -1, ``earlier`` (taken over from another run) or ``suggested`` (by one, without
            a result that would hold here).
        fitness: None unless finite.
        macs, params: of the head network.
        latency: of the head network, milliseconds for one image; 0: not measured.
        latency_noise: half the interquartile range of its passes, as a share of it.
        repeat: which further seed of a ``final``, from 1; else 0.
        epochs: that it trained.
        rung: fitness at the first rung; None where there was no race.
        parent: digest of the network that it was made from, or is nearest to; empty: none.
        inherited: share of its numbers that it started with from there, 0..1.
        curve: the error on the validation split after each epoch.
        at: seconds that the run had been searching when this was known, over all its starts.
        seconds: of the training; 0 for a trial without one.
        metrics: of the validation split.
        error: kind and one line; empty if ok.
    """

    generation: int
    index: int
    genome: tuple[float, ...]
    digest: str
    architecture: Mapping[str, Any]
    status: str
    fitness: float | None
    macs: int
    params: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    latency: float = 0.0
    latency_noise: float = 0.0
    repeat: int = 0
    epochs: int = 0
    rung: float | None = None
    parent: str = ""
    inherited: float = 0.0
    curve: tuple[float, ...] = ()
    at: float = field(default=0.0, compare=False)

    @classmethod
    def from_line(cls, line: bytes) -> Trial:
        """Return the trial of a line of the journal: the JSON of ``row``.

        Raises:
            ValueError: it is none; a line may have been damaged by anyone.
        """
        told = _told(line)
        settings = told.architecture["settings"]
        for name, value in settings.items():
            if type(value) is str:  # "relu" stands in thousands of lines, and once in memory
                settings[name] = intern(value)
        return cls(*msgspec.structs.astuple(told))

    @property
    def place(self) -> tuple[int, int, int]:
        """Generation, index and repeat, by which trials are sorted."""
        return self.generation, self.index, self.repeat

    def row(self) -> dict[str, Any]:
        """Return values by name, as a line of the journal holds them; none is copied."""
        return dict(zip(_NAMES, _values(self), strict=True))

    @property
    def value(self) -> float:
        """The fitness, infinite where there is none."""
        return math.inf if self.fitness is None else self.fitness

    @property
    def trained(self) -> bool:
        """Whether the trial cost a training."""
        return self.status in ("ok", "failed", "stopped")

    @property
    def succeeded(self) -> bool:
        """Whether the trial has a result of its own that the search may choose."""
        return self.status in ("ok", "earlier") and self.fitness is not None


_NAMES = tuple(one.name for one in fields(Trial))
_values = attrgetter(*_NAMES)
_Whole = Annotated[int, msgspec.Meta(ge=-_WHOLE, le=_WHOLE)]


class _Plain(TypedDict):
    network: str
    settings: dict[str, str | int | float | bool]


class _Line(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What a line of a journal has to hold, in the order of a trial. No number is infinite."""

    generation: _Whole
    index: _Whole
    genome: tuple[float, ...]
    digest: str
    architecture: _Plain
    status: str
    fitness: float | None
    macs: _Whole
    params: _Whole = 0
    seconds: float = 0.0
    metrics: dict[str, float] = {}  # msgspec makes each its own
    error: str = ""
    latency: float = 0.0
    latency_noise: float = 0.0
    repeat: _Whole = 0
    epochs: _Whole = 0
    rung: float | None = None
    parent: str = ""
    inherited: float = 0.0
    curve: tuple[float, ...] = ()
    at: float = 0.0


_told = msgspec.json.Decoder(_Line).decode
