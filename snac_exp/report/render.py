"""Templates into one self-contained page: style and script inside, nothing loaded, nothing of a run taken for HTML."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from snac_exp import __version__
from snac_exp.report.numbers import figure

_FOLDER = Path(__file__).parent / "templates"
STYLE = _FOLDER / "style.css"
_STATES = frozenset({"finished", "failed", "lost", "cancelled", "running", "queued", "preempted", "pruned"})
_SHORT_WORD = 18  # characters


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page. Its content security policy allows its own script by hash, data URIs, and no network at all."""
    style, script = (path.read_text(encoding="utf-8") for path in (STYLE, _FOLDER / "script.js"))
    # By its hash the browser runs this very script, and none that came in with a run's texts.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shared = {
        # Style and script are files of this package, so they may stand in the page as they are.
        "style": Markup(style),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
        "version": __version__,
        "known_states": _STATES,
    }
    return environment().get_template(template, globals=shared).render(**values)


@cache
def environment() -> jinja2.Environment:
    """The templates, each compiled once in a process, which takes longer than to fill it."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        # A name that a template expects and nobody gives is an error, never an empty place.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": figure, "breakable": _breakable}
    return made


def _breakable(text: str) -> Markup:
    """A name that breaks between its words, and inside of long ones after underscores and slashes."""
    return Markup(" ").join(_word(word) for word in text.split(" "))


def _word(word: str) -> Markup:
    if len(word) <= _SHORT_WORD:
        return Markup('<span class="nowrap">{}</span>').format(word)
    return escape(word).replace("_", Markup("_<wbr>")).replace("/", Markup("/<wbr>"))
