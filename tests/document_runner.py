"""Runs documented commands in this process, made small, in a folder of a document's own."""

from __future__ import annotations

import configparser
import contextlib
import io
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest import mock

from documents import ROOT, Command

from evonas.cli import app as cli
from evonas.core import experiment as config

#: Options that make work: what a test gives instead.
_LESS = {
    **{"--budget": "3", "--repeats": "1", "--folds": "2", "--seeds": "1", "--images": "8"},
    **{"--epochs": "1", "--workers": "1", "--people": "8", "--each": "3", "--photos": "8"},
    **{"--executor": "local"},
}
#: What a test adds behind the words of a verb.
_ADDED = {
    "retrain": ["--epochs", "1", "execution.executor=local", "execution.workers=1"],
    "compare": ["--seeds", "1"],
    "finetune": ["--epochs", "1"],
    "prune": ["--epochs", "1", "prune.folds=2"],
    "quantize": ["--images", "8"],
    "make.py": ["--people", "8", "--each", "3"],
    "face_files.py": ["--photos", "8"],
}
#: The dashboard serves until Ctrl-C, here for a moment, and opens no browser.
_SERVED = ["--port", "0"]
_PIPELINE = ["probe.folds=2", "prune.folds=2", "prune.training.epochs=1", "quantize.images=8"]
_SEARCHING = ("search", "compare", "probe", "pipeline", "validate")
_EVERY = [
    *("finals.networks=0", "features.jitters=0", "training.epochs=2", "retraining.epochs=1"),
    *("execution.executor=local", "execution.workers=1", "inherit.fresh_epochs=2"),
    "initial_designs=false",  # a budget this small would see no others
    "standard_baselines=false",  # they would be most of the trainings
]
#: Sixteen a generation by default: a budget of three would never see a child.
_EVOLUTION = ["optimizer.population_size=2", "optimizer.parents=1"]
#: Verbs that write an experiment: there is none yet to be made smaller.
_BEGINNING = ("init", "fit")
_SMALL_DATA = {"synthetic_faces": ["data.identities=10", "data.images_per_identity=3"]}


class Runner:
    """Runs the commands of one document, in their order, in one folder.

    Args:
        folder: the working directory, with what the placeholders stand for.
        cache: folder of the features.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder, self._cache = folder, cache
        self._path: list[str] = []

    def run(self, command: Command) -> str:
        """Run a command; return what is wrong with it, nothing if all is well."""
        if command.words[0] == "export":
            self._export(command.environment)
            return ""
        if command.words[0] == "make":
            return self._make(command)
        if command.words[0] == "pip":
            return _installed(command.words)
        words = [self._latest(word) for word in command.words]
        if words[0] == "python":
            return self._script(words[1:])
        return self._evonas(words[1:], command)

    def python(self, content: str, names: dict[str, object]) -> str:
        """Run a block of Python; return what is wrong with it, nothing if all is well."""
        with self._inside(["python"]) as said:
            return _status(lambda: exec(compile(content, "block", "exec"), names), said)

    def _export(self, settings: tuple[str, ...]) -> None:
        for setting in settings:
            name, _, value = setting.partition("=")
            if name == "PYTHONPATH":
                self._path = [str(self._folder / part) for part in value.split(":")]

    def _make(self, command: Command) -> str:
        """See that the targets exist; a search is done as the Makefile does it."""
        done = subprocess.run(
            ["make", "-n", *command.words[1:]], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            return done.stderr
        if "search" in command.words:
            words = ["search", "experiments/quickstart.yaml", "--run-dir", "runs/quickstart"]
            return self._evonas(words, command)
        return ""

    def _script(self, words: list[str]) -> str:
        script = Path(words[0])
        words = [*smaller(words[1:]), *_ADDED.get(script.name, [])]

        def work() -> None:
            sys.path.insert(0, str(script.parent.resolve()))  # as Python does
            runpy.run_path(str(script), run_name="__main__")

        with self._inside(["python", *words]) as said:
            return _status(work, said)

    def _evonas(self, words: list[str], command: Command) -> str:
        self._export(command.environment)
        with self._inside(["evonas"]) as said:
            return _status(lambda: self._call(words), said)

    def _call(self, words: list[str]) -> None:
        words = smaller(words)
        if ("--optimizer", "evolution") in pairwise(words):
            words += _EVOLUTION
        if words[0] in _SEARCHING and "--help" not in words and "--resume" not in words:
            words = instead(words, shrinking(words, self._cache))
        if words[0] in _BEGINNING and "--help" not in words:
            words = instead(words, [*_EVERY, f"features.cache={self._cache}", "budget=3"])
        more = [] if "--method" in words else _ADDED.get(words[0], [])
        if words[0] == "dashboard":
            words, more = [word for word in words if word != "--open"], _SERVED
        sys.argv = ["evonas", *instead(words, more)]
        with mock.patch("evonas.api.dashboard.wait", side_effect=KeyboardInterrupt):
            cli.main()

    def _latest(self, word: str) -> str:
        """Put the newest run in the place of ``runs/...``, as a reader would."""
        if "runs/..." not in word:
            return word
        runs = (path for path in (self._folder / "runs").iterdir() if path.is_dir())
        newest = max(runs, key=lambda path: path.stat().st_mtime_ns)
        return word.replace("runs/...", f"runs/{newest.name}")

    @contextlib.contextmanager
    def _inside(self, argv: list[str]) -> Iterator[io.StringIO]:
        said, before = io.StringIO(), (sys.argv, sys.path[:])
        sys.argv, sys.path[:0] = argv, self._path
        streams = (contextlib.redirect_stdout(said), contextlib.redirect_stderr(said))
        try:
            with contextlib.chdir(self._folder), streams[0], streams[1]:
                yield said
        finally:
            sys.argv, sys.path[:] = before
            self._forget()

    def _forget(self) -> None:
        """Let go of modules that lie in this folder: another document has its own my_net."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self._folder)):
                del sys.modules[name]


def smaller(words: list[str]) -> list[str]:
    """Return the words with less work asked of each option that makes work."""
    before = ["", *words]
    return [_LESS.get(option, word) for option, word in zip(before, words, strict=False)]


def instead(words: list[str], others: list[str]) -> list[str]:
    """Return the words with others behind them, which come in the place of any for the same key."""
    keys = {word.partition("=")[0] for word in others if "=" in word}
    kept = [word for word in words if "=" not in word or word.partition("=")[0] not in keys]
    return [*kept, *others]


def shrinking(words: list[str], cache: Path) -> list[str]:
    """Return overrides that make a search one of seconds.

    Raises:
        InputError: the experiment, a key or a value is wrong.
    """
    named = next((w for w in words[1:2] if not w.startswith("-") and "=" not in w), "quickstart")
    changes = [word for word in words if re.fullmatch(r"[a-z][\w.]*=.+", word)]
    experiment = config.load(named, changes)
    found = [*_EVERY, f"features.cache={cache}", *_SMALL_DATA.get(experiment.data.name, [])]
    found += _EVOLUTION if experiment.optimizer.name == "evolution" else []
    found += _PIPELINE if words[0] == "pipeline" else []
    return [*found, *([] if "--budget" in words else ["budget=3"])]


def _status(work: object, said: io.StringIO) -> str:
    assert callable(work)
    try:
        work()
    except SystemExit as stop:
        return said.getvalue() if stop.code else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{said.getvalue()}"
    return ""


def _installed(words: tuple[str, ...]) -> str:
    """See that what is to be installed are extras that evonas has; nothing is installed."""
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg", encoding="utf-8")
    for word in words[2:]:
        named = re.fullmatch(r"evonas\[(\w+)\]", word)
        if not named or named[1] not in extras["options.extras_require"]:
            return f"{word}: no extra of setup.cfg"
    return ""
