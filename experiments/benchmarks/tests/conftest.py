"""The fixtures of the library's tests, for the tests of the benchmarks."""

from conftest import (  # noqa: F401
    aflw2000_root,
    cache,
    components,
    evonas,
    features,
    pointing04_root,
    recognition_weights,
    run,
    setting,
    source,
    tiny,
    tiny_experiment,
    tiny_file,
)
