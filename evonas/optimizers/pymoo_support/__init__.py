"""Operators for the genetic algorithms of pymoo."""
