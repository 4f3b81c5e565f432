"""Which modules a page of the reference shows."""

from __future__ import annotations

from evonas.core import registry


def _parts(kind: str) -> tuple[str, ...]:
    """Return the modules of a kind of part: its base class first, then evonas's own parts."""
    return (registry.KINDS[kind].base_module, *registry.modules(kind))


#: page -> title, a sentence, modules
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "python": (
        "Python API",
        "What `import evonas` offers: all of these names are attributes of `evonas`.",
        (
            *(
                f"evonas.api.{name}"
                for name in (
                    *("search", "search_result", "live_view", "retraining"),
                    *("retrained_model", "evaluation", "comparison", "exported_model"),
                    *("prediction", "probing", "pipeline", "reporting", "dashboard", "description"),
                    *("inspection", "feature_cache", "optimization", "parts"),
                )
            ),
            *("evonas.runs.callbacks", "evonas.core.description"),
        ),
    ),
    "config": (
        "Configuration",
        "An experiment as it is read from YAML and `key=value`. "
        "[Every setting](settings.md) lists them with their defaults.",
        ("evonas.core.experiment", "evonas.errors"),
    ),
    "space": (
        "Search space",
        "Genes, and the map from a genome in [0, 1] to an architecture.",
        tuple(
            f"evonas.space.{name}"
            for name in ("search_space", "typed_genes", "gene", "architecture", "mutation", "limit")
        ),
    ),
    "optimizers": (
        "Optimizers",
        "Search strategies: the base class first, then those that come with evonas.",
        _parts("optimizer"),
    ),
    "networks": (
        "Networks",
        "Families of networks that a search space describes, and the blocks of their stages.",
        (*_parts("network"), *_parts("block")),
    ),
    "backbones": (
        "Backbones",
        "Frozen networks with named taps.",
        _parts("backbone"),
    ),
    "data": (
        "Data sets",
        "Images, labels, groups and splits.",
        _parts("data"),
    ),
    "tasks": (
        "Tasks",
        "What is learnt: targets, loss, metrics and what a mirror does.",
        _parts("task"),
    ),
    "estimation": (
        "Training and objective",
        "From an architecture to its error and cost.",
        tuple(
            f"evonas.{name}"
            for name in (
                *("core.settings", "core.compression_settings", "estimation.objective"),
                *("estimation.estimator", "estimation.training.training"),
                *("estimation.features.feature_cache", "estimation.measurement"),
                *("estimation.cost.complexity", "estimation.cost.latency"),
                "workflows.result_table",
            )
        ),
    ),
    "execution": (
        "Executors",
        "Where candidates train.",
        _parts("executor"),
    ),
    "loggers": (
        "Loggers",
        "A search written down for other tools.",
        _parts("logger"),
    ),
    "search": (
        "Search",
        "The loop, and the parts that an experiment names.",
        tuple(
            f"evonas.{name}"
            for name in (
                *("workflows.loop", "workflows.components", "runs.finals"),
                *("runs.finals_race",),
                *("workflows.paused_trainings", "workflows.racing"),
                *("workflows.inheritance", "workflows.time_budget"),
            )
        ),
    ),
    "store": (
        "Journal and results",
        "What a run leaves, and how it is read again.",
        (
            "evonas.runs.run_store",
            "evonas.runs.clock_decisions",
            "evonas.runs.result_files",
            "evonas.runs.pareto",
            "evonas.workflows.retraining",
            "evonas.workflows.evaluation",
        ),
    ),
    "testing": (
        "Conformance suites",
        "What every part must do, as tests that a package runs on its own parts.",
        (
            "evonas.testing",
            *(
                f"evonas.testing.{name}"
                for name in (
                    *("conformance", "optimizers", "ask_tell", "failed_evaluations", "warm_start"),
                    *("networks", "network_settings", "backbones", "tasks", "loggers"),
                )
            ),
        ),
    ),
    "registry": (
        "Registry",
        "How names become parts.",
        ("evonas.core.registry", "evonas.core.outside_parts", "evonas.core.dotted_names"),
    ),
}


def page(name: str) -> str:
    """Return the Markdown of a page, for mkdocstrings."""
    title, sentence, modules = PAGES[name]
    shown = "\n\n".join(f"::: {module}" for module in modules)
    return f"# {title}\n\n{sentence}\n\n{shown}\n"
