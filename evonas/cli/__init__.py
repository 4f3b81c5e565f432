"""The command line: verbs by theme, each of which calls one function of ``evonas.api``."""
