"""evonas: evolutionary search for small networks on frozen features.

The names below are the Python API; each is imported when it is first used, so that
``import evonas`` loads neither torch nor ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evonas.core.version import __version__
from evonas.errors import EvonasError, InputError, RunError

if TYPE_CHECKING:
    from evonas.api.comparison import Comparison, compare
    from evonas.api.dashboard import serve_dashboard
    from evonas.api.description import NetworkDescription, describe_network
    from evonas.api.evaluation import Evaluation, evaluate
    from evonas.api.exported_model import ExportedModel, Prediction, load_exported
    from evonas.api.feature_cache import (
        CachedFeatures,
        CacheListing,
        ClearedCache,
        clear_cache,
        list_cache,
    )
    from evonas.api.finetuning import finetune
    from evonas.api.fitting import FitResult, fit
    from evonas.api.initializing import InitialExperiment, initialize
    from evonas.api.inspection import (
        BackboneDescription,
        DataDescription,
        describe_backbone,
        describe_data,
    )
    from evonas.api.live_view import LiveView
    from evonas.api.optimization import OptimizationResult, create_optimizer, minimize
    from evonas.api.parts import (
        list_backbones,
        list_datasets,
        list_executors,
        list_experiments,
        list_loggers,
        list_networks,
        list_optimizers,
        list_parts,
        list_search_spaces,
        list_tasks,
        load_dataset,
    )
    from evonas.api.pipeline import PipelineResult, pipeline
    from evonas.api.prediction import predict_photos
    from evonas.api.probing import ProbeResult, probe
    from evonas.api.reporting import Report, write_report
    from evonas.api.retrained_model import DistinctivenessStudy, RetrainedModel
    from evonas.api.retraining import retrain
    from evonas.api.search import search
    from evonas.api.search_result import EvaluatedNetwork, SearchResult, load_run
    from evonas.api.video_prediction import FramePrediction, predict_video
    from evonas.core.description import ExperimentDescription
    from evonas.core.experiment import Experiment
    from evonas.optimizers.base import Optimizer
    from evonas.runs.callbacks import Callback, SearchStart
    from evonas.runs.trial import Trial
    from evonas.space import Architecture, Choice, Gene, Integer, LogFloat, Ordinal, SearchSpace

#: Module -> the public names that it holds.
_PUBLIC: dict[str, tuple[str, ...]] = {
    "evonas.runs.callbacks": ("Callback", "SearchStart"),
    "evonas.api.comparison": ("Comparison", "compare"),
    "evonas.api.dashboard": ("serve_dashboard",),
    "evonas.api.description": ("NetworkDescription", "describe_network"),
    "evonas.api.evaluation": ("Evaluation", "evaluate"),
    "evonas.api.exported_model": ("ExportedModel", "Prediction", "load_exported"),
    "evonas.api.feature_cache": (
        *("CacheListing", "CachedFeatures", "ClearedCache", "clear_cache", "list_cache"),
    ),
    "evonas.api.finetuning": ("finetune",),
    "evonas.api.fitting": ("FitResult", "fit"),
    "evonas.api.initializing": ("InitialExperiment", "initialize"),
    "evonas.api.inspection": (
        *("BackboneDescription", "DataDescription", "describe_backbone", "describe_data"),
    ),
    "evonas.api.live_view": ("LiveView",),
    "evonas.api.optimization": ("OptimizationResult", "create_optimizer", "minimize"),
    "evonas.api.parts": (
        *("list_backbones", "list_datasets", "list_executors", "list_experiments"),
        *("list_loggers", "list_networks", "list_optimizers", "list_parts"),
        *("list_search_spaces", "list_tasks", "load_dataset"),
    ),
    "evonas.api.pipeline": ("PipelineResult", "pipeline"),
    "evonas.api.prediction": ("predict_photos",),
    "evonas.api.probing": ("ProbeResult", "probe"),
    "evonas.api.reporting": ("Report", "write_report"),
    "evonas.api.retrained_model": ("DistinctivenessStudy", "RetrainedModel"),
    "evonas.api.retraining": ("retrain",),
    "evonas.api.search": ("search",),
    "evonas.api.search_result": ("EvaluatedNetwork", "SearchResult", "load_run"),
    "evonas.api.video_prediction": ("FramePrediction", "predict_video"),
    "evonas.core.description": ("ExperimentDescription",),
    "evonas.core.experiment": ("Experiment",),
    "evonas.optimizers.base": ("Optimizer",),
    "evonas.runs.trial": ("Trial",),
    "evonas.space": (
        *("Architecture", "Choice", "Gene", "Integer", "LogFloat", "Ordinal"),
        *("SearchSpace",),
    ),
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [
    "Architecture",
    "BackboneDescription",
    "CacheListing",
    "CachedFeatures",
    "Callback",
    "Choice",
    "ClearedCache",
    "Comparison",
    "DataDescription",
    "DistinctivenessStudy",
    "EvaluatedNetwork",
    "Evaluation",
    "EvonasError",
    "Experiment",
    "ExperimentDescription",
    "ExportedModel",
    "FitResult",
    "FramePrediction",
    "Gene",
    "InitialExperiment",
    "InputError",
    "Integer",
    "LiveView",
    "LogFloat",
    "NetworkDescription",
    "OptimizationResult",
    "Optimizer",
    "Ordinal",
    "PipelineResult",
    "Prediction",
    "ProbeResult",
    "Report",
    "RetrainedModel",
    "RunError",
    "SearchResult",
    "SearchSpace",
    "SearchStart",
    "Trial",
    "__version__",
    "clear_cache",
    "compare",
    "create_optimizer",
    "describe_backbone",
    "describe_data",
    "describe_network",
    "evaluate",
    "finetune",
    "fit",
    "initialize",
    "list_backbones",
    "list_cache",
    "list_datasets",
    "list_executors",
    "list_experiments",
    "list_loggers",
    "list_networks",
    "list_optimizers",
    "list_parts",
    "list_search_spaces",
    "list_tasks",
    "load_dataset",
    "load_exported",
    "load_run",
    "minimize",
    "pipeline",
    "predict_photos",
    "predict_video",
    "probe",
    "retrain",
    "search",
    "serve_dashboard",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    Raises:
        AttributeError: evonas has no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'evonas' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
