"""The end of a run of the tests says what did not run and what grew slow, with workers and without."""

from pathlib import Path

import pytest

from tests.helpers import summary
from tests.helpers.variants import thorough

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from tests.helpers import summary

@pytest.mark.parametrize("i", [1, 2])
def test_skipped(i):
    pytest.skip("needs a moon: wait for night")

def test_costly():
    sum(range(300_000))

@pytest.mark.slow
def test_marked():
    sum(range(300_000))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["-n2", *thorough("-n0")])
def test_it_names_reasons_once_and_tests_that_are_not_marked(workers: str, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makeconftest(
        "from tests.helpers import summary\nfrom tests.helpers.summary import *  # noqa\nsummary.GROWN_SECONDS = -1.0"
    )
    pytester.makepyfile(TESTS)
    pytester.syspathinsert(Path(__file__).parents[2])
    lines = pytester.runpytest_subprocess(workers).stdout.lines
    (skipped,) = [line for line in lines if "needs a moon" in line and "tests:" in line]
    assert skipped.split() == [
        "2",
        "tests:",
        *["needs", "a", "moon:", "wait", "for", "night"],
        f"({lines_file(pytester)})",
    ]
    grown = [line.split()[-1].partition("::")[2] for line in lines if " s  " in line]
    assert grown == ["test_costly"]


def lines_file(pytester: pytest.Pytester) -> str:
    """The one file of tests that pytester wrote."""
    (path,) = pytester.path.glob("test_*.py")
    return path.name


def test_what_a_test_costs_is_counted_in_processor_seconds() -> None:
    before = summary._processor_seconds()
    sum(range(2_000_000))
    assert summary._processor_seconds() > before
