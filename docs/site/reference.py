"""Which modules a page of the reference shows."""

from __future__ import annotations

#: page -> title, a sentence, modules
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "python": (
        "Python API",
        "What `import evonas` offers: all of these names are attributes of `evonas`.",
        tuple(
            f"evonas.api.{name}"
            for name in (
                *("search", "search_result", "callbacks", "live_view", "retraining"),
                *("retrained_model", "evaluation", "comparison", "exported_model"),
                *("optimization", "parts"),
            )
        ),
    ),
    "config": (
        "Configuration",
        "An experiment as it is read from YAML and `key=value`. "
        "[Every setting](settings.md) lists them with their defaults.",
        ("evonas.config", "evonas.errors"),
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
        tuple(
            f"evonas.optimizers.{name}"
            for name in (
                *("base", "cma", "ga", "pso", "bobyqa", "surrogate", "nsga2"),
                *("evolution", "local", "random"),
            )
        ),
    ),
    "networks": (
        "Networks",
        "Families of networks that a search space describes.",
        tuple(
            f"evonas.networks.{name}"
            for name in (
                *("base", "master_module", "head_pose_nas_2020", "heatmap_head", "evopose2d"),
                *("resnet50", "shufflenet_v2", "linear_probe", "residual_head"),
            )
        ),
    ),
    "backbones": (
        "Backbones",
        "Frozen networks with named taps.",
        tuple(
            f"evonas.backbones.{name}"
            for name in (
                *("base", "torch_module", "exported", "pruned", "timm", "torchvision", "facenet"),
                *("face_recognition", "light_cnn", "vgg_face", "synthetic_face", "none"),
            )
        ),
    ),
    "data": (
        "Data sets",
        "Images, labels, groups and splits.",
        tuple(
            f"evonas.data.{name}"
            for name in (
                *("base", "image_table", "class_folders", "synthetic_faces", "pointing04"),
                *("w300lp", "aflw2000", "biwi", "coco_keypoints", "leeds_sports"),
            )
        ),
    ),
    "tasks": (
        "Tasks",
        "What is learnt: targets, loss, metrics and what a mirror does.",
        tuple(
            f"evonas.tasks.{name}"
            for name in ("base", "regression", "classification", "head_pose", "key_points")
        ),
    ),
    "estimation": (
        "Training and objective",
        "From an architecture to its error and cost.",
        tuple(
            f"evonas.estimation.{name}"
            for name in (
                *("settings", "low_cost", "objective", "estimator", "training", "features"),
                *("measurement", "complexity", "latency", "table"),
            )
        ),
    ),
    "execution": (
        "Executors",
        "Where candidates train.",
        ("evonas.execution.base", "evonas.execution.local", "evonas.execution.ray"),
    ),
    "loggers": (
        "Loggers",
        "A search written down for other tools.",
        tuple(f"evonas.loggers.{name}" for name in ("base", "tensorboard", "mlflow")),
    ),
    "search": (
        "Search",
        "The loop, and the parts that an experiment names.",
        tuple(f"evonas.{name}" for name in ("loop", "assembly", "finals", "racing", "lineage")),
    ),
    "store": (
        "Journal and results",
        "What a run leaves, and how it is read again.",
        (
            "evonas.store",
            "evonas.results",
            "evonas.front",
            "evonas.retraining",
            "evonas.evaluation",
        ),
    ),
    "registry": (
        "Registry",
        "How names become parts.",
        ("evonas.registry",),
    ),
}


def page(name: str) -> str:
    """Return the Markdown of a page, for mkdocstrings."""
    title, sentence, modules = PAGES[name]
    shown = "\n\n".join(f"::: {module}" for module in modules)
    return f"# {title}\n\n{sentence}\n\n{shown}\n"
