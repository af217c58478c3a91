"""Where the loss terms that a recipe names by a bare number lie."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "losses" / "terms"


def term_names() -> list[str]:
    """Names of the files of snac_exp/losses/terms, each of which holds the term of its name."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def target_of_term(name: str) -> str:
    """Import path of the term that a file holds."""
    return f"snac_exp.losses.terms.{name}.{name}"
