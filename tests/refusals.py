"""How a user's mistake is refused: by one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evonas.errors import InputError


def refusal_of(call: Callable[[], object]) -> str:
    """The message with which a call is refused; it is one line."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
