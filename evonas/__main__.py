"""``python -m evonas``."""

from evonas.cli.app import main

main()
