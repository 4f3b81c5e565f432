"""The command line: all verbs, and how a mistake is printed.

A verb parses its words, calls one function of the Python API and prints the result. What it
calls is imported when it is used, so that help and lists answer at once.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from evonas.cli.compression import verbs as compression
from evonas.cli.inspection import verbs as inspection
from evonas.cli.results import verbs as results
from evonas.cli.starting import verbs as starting
from evonas.cli.training import verbs as training
from evonas.core.version import __version__
from evonas.errors import EvonasError

app = typer.Typer(
    name="evonas",
    help="Search small head networks for frozen face features. Start with: evonas search",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    """Print the version and exit, if wanted."""
    if wanted:
        typer.echo(f"evonas {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Search small head networks for frozen face features. Start with: evonas search."""


for verbs in (starting, training, results, compression, inspection):
    app.add_typer(verbs)


def _plain(text: object) -> str:
    """Return text in one line; what a file holds must neither break nor colour a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


#: What a disk says that is full, read-only, broken, or not the user's.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def main() -> None:
    """Run the command line; a person's mistake is one line and exit status 2."""
    try:
        app()
    except EvonasError as error:
        typer.echo(f"evonas: {_plain(error.args[0])}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = error.filename or "a file"
        typer.echo(
            f"evonas: {_plain(str(where))}: cannot be read or written ({error.strerror}): free "
            "some space or change the rights, then do it again",
            err=True,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
