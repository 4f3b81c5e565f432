"""The Python API: the functions and classes that `import evonas` offers, one module a topic."""
