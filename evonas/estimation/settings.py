"""How to train and what to minimise: the checked values of an experiment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Settings(BaseModel):
    """Frozen values that refuse unknown keys, infinities and nan."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainingSettings(Settings):
    """How long and how to train a head network.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step.
        learning_rate: the highest.
        schedule: ``cosine`` to zero, ``exponential`` (times ``decay`` after every
            epoch; Matak 2020 uses 0.8) or ``constant``.
        decay: factor of the exponential schedule.
        warmup: share of all steps over which the rate rises linearly.
        weight_decay: decoupled (AdamW, Loshchilov & Hutter 2019, arXiv 1711.05101).
        ema: decay per step of the exponential moving average of the weights that is
            validated and kept; 0 keeps the last weights themselves.
        keep: the epoch whose weights count, ``best`` on validation or ``last``.
    """

    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 2e-3
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-2
    ema: Share = 0.0
    keep: Literal["best", "last"] = "best"


class ObjectiveSettings(Settings):
    """Error times a penalty on operations; see ``objective.Objective``.

    Attributes:
        mode: ``one_sided`` or ``soft``.
        target_mflops: T, in millions of floating point operations (2 a multiply-add)
            of the head network.
        weight: w, the exponent of the penalty.
        max_macs: hard limit on the head network's multiply-adds, checked before
            training; none if left out.
    """

    mode: Literal["one_sided", "soft"] = "one_sided"
    target_mflops: Annotated[float, Field(gt=0.0)] = 10.0
    weight: Annotated[float, Field(ge=0.0)] = 0.06
    max_macs: Annotated[int, Field(ge=1)] | None = None


class FeatureSettings(Settings):
    """What of the backbone is cached.

    Attributes:
        jitters: jittered copies of each image beside the plain one; each also
            mirrored.
        strict: refuse a data set of which images cannot be decoded, instead of
            leaving these out.
        cache: folder of the cache.
    """

    jitters: Annotated[int, Field(ge=0, le=64)] = 0
    strict: bool = True
    cache: str = "~/.cache/evonas"


class ExecutionSettings(Settings):
    """Where candidates are trained.

    Attributes:
        executor: ``local``, ``ray``, or ``auto``: ray for more than one worker or a
            GPU.
        workers: how many candidates train at once; ``auto`` is one a core or GPU.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU where there is one.
    """

    executor: str = "auto"
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
