"""Values of a parametrized test that say the same as the ones that stand beside them.

@pytest.mark.parametrize("form", ["snac", *thorough("multirate", "fused")])
"""

from typing import Any

import pytest


def thorough(*values: Any) -> list[Any]:
    """Parameters that `make thorough` runs; a tuple is the values of several names."""
    return [
        pytest.param(*value, marks=pytest.mark.thorough)
        if isinstance(value, tuple)
        else pytest.param(value, marks=pytest.mark.thorough)
        for value in values
    ]
