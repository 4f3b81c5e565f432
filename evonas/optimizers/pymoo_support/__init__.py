"""Base class and operators of the genetic algorithms that use pymoo."""
