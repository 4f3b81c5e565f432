"""Settings of an experiment for probing, pruning, fine-tuning and quantization."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from evonas.core.settings import Settings, TrainingSettings

Threshold = Annotated[float, Field(ge=0.0, lt=1.0)]
#: Further training of a backbone with its head.
_FURTHER = TrainingSettings(epochs=10, learning_rate=1e-3, ema=0.99, keep="last")


class ProbeSettings(Settings):
    """Linear probing of the taps of a backbone.

    Attributes:
        labels: labels to predict from pooled features; empty: those of the task.
        folds: number of cross-validation folds of the training split, by group.
        classes: model of classes: ``logistic`` regression, or ``least_squares`` on indicators 0
            and 1, as used by John et al. (2019).
        thresholds: thresholds of the knees, as shares of the range of a curve.
        keep: number of best taps that are recommended as values of a tap gene.
    """

    labels: tuple[str, ...] = ()
    folds: Annotated[int, Field(ge=2)] = 3
    classes: Literal["logistic", "least_squares"] = "logistic"
    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)] = (0.1, 0.01, 0.001)
    keep: Annotated[int, Field(ge=1)] = 3


class PruneSettings(Settings):
    """Pruning of a backbone for a task, and fine-tuning afterwards.

    Attributes:
        threshold: threshold of the knee up to which the filters of a map are kept, as a share
            of the range of its characteristic curve.
        shared: selection of filters that are added up over several layers: ``union`` of the
            selections of their maps, or that of the ``last`` map.
        folds: number of cross-validation folds of the training split, by group.
        training: fine-tuning of backbone and head together, on images; ``keep=last`` by default,
            so that the images of the evaluation do not select the epoch.
    """

    threshold: Threshold = 0.01
    shared: Literal["union", "last"] = "union"
    folds: Annotated[int, Field(ge=2)] = 3
    training: TrainingSettings = _FURTHER


class FinetuneSettings(Settings):
    """Fine-tuning of a head and of the layers of the backbone below it.

    Attributes:
        frozen_up_to: tap up to which the backbone stays frozen; ``image``: all layers are trained;
            empty: the tap right below that of the head.
        rate_decay: factor of the learning rate for each interval between taps, from the head
            downwards; the head learns at the rate of ``training``.
        training: the training; ``keep=last`` by default, so that the images of the evaluation do
            not select the epoch.
    """

    frozen_up_to: str = ""
    rate_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    training: TrainingSettings = _FURTHER


class QuantizeSettings(Settings):
    """Quantization of a network to 8-bit integers.

    Attributes:
        road: backend: ``onnx`` (ONNX Runtime: equally accurate, and the fastest without a
            compiler) or ``pt2e`` (torchao: a torch program, fast only with torch.compile).
        images: number of training images for the calibration of activation ranges.
        aware: whether to fine-tune with simulated rounding (quantization-aware training).
        training: quantization-aware training; the rate is multiplied by ``decay`` after every
            epoch or at milestones.
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
            # Activation ranges are observed with the current weights and do not fit averaged ones.
            raise PydanticCustomError("ema", "expected ema=0 in quantisation-aware training")
        return value
