"""Whatever a text holds, a reader of Markdown shows it as it stands."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snac_exp.system.markup.markdown import code, fenced, plain, table
from tests.helpers.markdown import acted_on, blocks, rows

# Readers of Markdown replace NUL, and end lines at what other texts have inside of them.
texts = st.text(st.sampled_from("ab1_*`[]()<>|\\#-+.~&;:!^= \n/"), max_size=24) | st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12
)


@pytest.mark.slow
@given(text=texts)
@example(text="<script>alert(1)</script>")
@example(text="[x](javascript:alert(1))")
@example(text="0\u00a00")
@example(text="**a** _b_ ~~c~~ `d` &lt; a|b\\|c")
def test_a_cell_and_a_list_item_show_the_text(text: str) -> None:
    shown = " ".join(text.split())
    _, cells = rows(table(["", "a"], [[plain(text), code(text)]]))
    assert [" ".join(cell.split()) for cell in cells] == [shown, shown]  # code keeps spaces that are no line's end
    item = f"- {plain(text)}\n- end"
    assert shown == "-" or blocks(item) == [("inline", shown)] * bool(shown) + [("inline", "end")]
    assert acted_on(item) == set()
    assert "<" not in plain(text)


@given(text=texts)
def test_a_block_of_code_ends_where_it_should(text: str) -> None:
    text = text.rstrip()
    assert blocks(f"{fenced(text, 'yaml')}\nend") == [("fence", text.replace("\r", "\n")), ("inline", "end")]


def test_what_is_common_stays_readable() -> None:
    assert plain("head_48k/lsd_high_db 0.04 [0.03, 0.05] -1.5 seed=2") == (
        "head_48k/lsd_high_db 0.04 [0.03, 0.05] -1.5 seed=2"
    )
    assert code("lr.phases.main.groups.trunk") == "`lr.phases.main.groups.trunk`"
    assert table(["", "a"], [["x", "1"]], "lr") == "|  | a |\n| --- | ---: |\n| x | 1 |"
