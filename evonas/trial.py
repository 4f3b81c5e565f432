"""A trial: a proposal of the optimizer and what became of it, a line of the journal."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from operator import attrgetter
from sys import intern
from typing import Any

from evonas.space import Architecture

#: What a line of a journal must hold: it may have been written, mixed or damaged by anyone.
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("digest", "status", "error", "parent"), str),
    **dict.fromkeys(("generation", "index", "macs", "params", "repeat", "epochs"), int),
    **dict.fromkeys(("seconds", "latency", "latency_noise", "inherited", "at"), float),
    **dict.fromkeys(("fitness", "rung"), float),
}
_OPTIONAL = ("fitness", "rung")
_FIGURES = tuple(name for name, kind in _KINDS.items() if kind is not str and name not in _OPTIONAL)
#: Of a figure of a trial: squares and sums of what is beyond are infinite.
LARGEST = 1e300
_FINITE = sys.float_info.max
_NUMBERS = frozenset((int, float))


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
    def from_row(cls, row: Any) -> Trial:
        """Return the trial of a line of the journal, as ``row`` gives it; its lists are replaced.

        Raises:
            ValueError, TypeError, KeyError, InputError: it is none.
        """
        return _checked(row)

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
_values, _told, _always = attrgetter(*_NAMES), attrgetter(*_KINDS), attrgetter(*_FIGURES)
#: Kinds of the values of a line that were found sound: nearly all lines have the same.
_SOUND: set[tuple[type, ...]] = set()


def _checked(row: Any) -> Trial:
    row["genome"], row["curve"] = tuple(row["genome"]), tuple(row.get("curve", ()))
    Architecture.check(row["architecture"])
    settings = row["architecture"]["settings"]
    for name, value in settings.items():
        if type(value) is str:  # "relu" stands in thousands of lines, and once in memory
            settings[name] = intern(value)
    trial = Trial(**row)
    if type(trial.metrics) is not dict:
        raise TypeError("expected metrics by name")
    if (kinds := tuple(map(type, _told(trial)))) not in _SOUND:
        _check_kinds(trial)
        _SOUND.add(kinds)
    numbers = (*trial.genome, *trial.curve, *trial.metrics.values(), *_figures(trial))
    with suppress(OverflowError):  # an integer may be beyond all floats
        if _NUMBERS.issuperset(map(type, numbers)) and all(map(math.isfinite, numbers)):
            return trial
    wrong = next(x for x in numbers if type(x) not in _NUMBERS or not -_FINITE <= x <= _FINITE)
    raise ValueError(f"expected finite numbers, got {str(wrong)[:40]!r}")


def _check_kinds(trial: Trial) -> None:
    for name, kind in _KINDS.items():
        # the very type: true and false are integers otherwise
        if type(found := getattr(trial, name)) is not kind:
            if kind is float and (type(found) is int or (name in _OPTIONAL and found is None)):
                continue
            raise TypeError(f"expected {name} of type {kind.__name__}, got {str(found)[:40]!r}")


def _figures(trial: Trial) -> Iterator[Any]:
    """Return every figure but those of genome, curve and metrics."""
    return (x for x in (trial.fitness, trial.rung, *_always(trial)) if x is not None)
