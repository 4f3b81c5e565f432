"""How to probe, prune and quantise: the checked values of an experiment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from evonas.core.settings import Settings, TrainingSettings

Threshold = Annotated[float, Field(ge=0.0, lt=1.0)]


class ProbeSettings(Settings):
    """How taps are probed; see ``transfer.probe``.

    Attributes:
        labels: of the data set, to be learnt from pooled features; empty: those of the task.
        folds: parts, by group, of the training split; each is held out once.
        classes: how classes are fitted: by ``logistic`` regression, or as John et al. (2019)
            regress them, by ``least_squares`` on their indicators, 0 or 1.
        thresholds: of knees, as shares of a curve's range.
        keep: how many of the best taps are recommended as the range of a tap gene.
    """

    labels: tuple[str, ...] = ()
    folds: Annotated[int, Field(ge=2)] = 3
    classes: Literal["logistic", "least_squares"] = "logistic"
    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)] = (0.1, 0.01, 0.001)
    keep: Annotated[int, Field(ge=1)] = 3


class PruneSettings(Settings):
    """How a backbone is pruned for a task, and trained on afterwards; see ``transfer.prune``.

    Attributes:
        threshold: of the knee up to which a map's filters are kept, as a share of the range
            of its characteristic curve.
        shared: which maps decide on filters that are added up over several layers:
            ``union`` of what each chooses, or what the ``last`` one does.
        folds: parts, by group, of the training split; each is held out once.
        training: of backbone and head together, on images; ``keep=last`` by default, so
            that the images that judge choose no epoch.
    """

    threshold: Threshold = 0.01
    shared: Literal["union", "last"] = "union"
    folds: Annotated[int, Field(ge=2)] = 3
    training: TrainingSettings = TrainingSettings(
        epochs=10, learning_rate=1e-3, ema=0.99, keep="last"
    )


class QuantizeSettings(Settings):
    """How a network becomes one of 8-bit integers; see ``transfer.quantize``.

    Attributes:
        road: ``onnx`` (ONNX Runtime: as accurate, and the fastest without a compiler) or
            ``pt2e`` (torchao: a program of torch, fast through torch.compile alone).
        images: of the training split, that ranges of activations are taken from.
        aware: whether it is trained on with simulated rounding (quantisation-aware).
        training: of that; the rate decays by ``decay`` after every epoch or at milestones.
    """

    road: Literal["onnx", "pt2e"] = "onnx"
    images: Annotated[int, Field(ge=1)] = 256
    aware: bool = False
    training: TrainingSettings = TrainingSettings(
        epochs=3, learning_rate=1e-4, schedule="exponential", decay=0.5, keep="last"
    )

    @field_validator("training")
    @classmethod
    def _no_average(cls, value: TrainingSettings) -> TrainingSettings:
        if value.ema:
            # Ranges of activations are observed, not learnt: an average of weights misfits them.
            raise PydanticCustomError("ema", "expected ema=0 in quantisation-aware training")
        return value
