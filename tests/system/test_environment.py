"""Names of machines, by which figures and codes are kept apart."""

import pytest

from snac_exp.system.environment import name_in

ONE = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 23
model\t\t: {model}
model name\t: AMD EPYC

processor\t: 1
model\t\t: 99
model name\t: another

"""


def test_two_processors_under_one_brand_have_two_names() -> None:
    """A virtual machine often says no more than the brand."""
    assert name_in(ONE.format(model=1)) == "AMD EPYC (family 23, model 1)"
    assert name_in(ONE.format(model=49)) == "AMD EPYC (family 23, model 49)"


@pytest.mark.parametrize(("text", "name"), [("", None), ("processor: 0\nBogoMIPS: 50\n", None), ("model name: X", "X")])
def test_what_the_text_does_not_say_is_left_out(text: str, name: str | None) -> None:
    assert name_in(text) == name
