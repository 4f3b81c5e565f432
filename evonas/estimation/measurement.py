"""Measurement of a candidate: plain data, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evonas.estimation.failure_kinds import KINDS


@dataclass(frozen=True)
class Measurement:
    """The outcome of one training.

    Attributes:
        status: ``ok`` or ``failed``.
        metrics: the task's metrics on the validation split; empty if failed.
        macs: multiply-adds of the head network at batch 1.
        params: number of parameters.
        seconds: wall time of building, training and validating.
        latency: of the head network for one image, milliseconds; 0: not measured.
        latency_noise: half the interquartile range of the passes over their median.
        epochs: number of epochs trained, in all.
        inherited: fraction of the parameters inherited from a parent, 0..1.
        memory: peak GPU memory in bytes without the features; 0 on a CPU.
        error_kind: one of ``evonas.estimation.failure_kinds.KINDS``; empty if ok.
        error: one line for people; empty if ok.
        history: metrics after each epoch, where the job asked for them.
    """

    status: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    macs: int = 0
    params: int = 0
    seconds: float = 0.0
    latency: float = 0.0
    latency_noise: float = 0.0
    epochs: int = 0
    inherited: float = 0.0
    memory: int = 0
    error_kind: str = ""
    error: str = ""
    history: tuple[Mapping[str, float], ...] = ()

    @classmethod
    def failure(cls, kind: str, error: str, **known: Any) -> Measurement:
        """Return the measurement of a failed training.

        Raises:
            ValueError: there is no such kind of failure.
        """
        if kind not in KINDS:
            raise ValueError(f"expected one of {', '.join(KINDS)}, got {kind!r}")
        first_line = error.strip().split("\n", 1)[0][:300]
        return cls("failed", error_kind=kind, error=first_line, **known)
