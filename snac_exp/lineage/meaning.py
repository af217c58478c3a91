"""meaning.json of a run folder: what the run computes, by which code and from what, as it was when the run began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snac_exp.config.meaning.code import component_code
from snac_exp.config.meaning.digest import meaning_digest
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.lineage.parents import TOKENS, Parent, described, parents_of
from snac_exp.system.files import write_signed_json
from snac_exp.tracking.json_files import read_object
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class Meaning:
    """What a run means.

    config: SHA-256 of its resolved config, without what changes no result. code: of the code of its components, by
    name. parents: what its paths led to, by key. Of a run of an earlier version code and parents are empty.
    """

    config: str
    code: dict[str, str]
    parents: dict[str, Parent]


def note_meaning(folder: RunFolder) -> None:
    """Write meaning.json of a run that begins; one that goes on keeps what it began with.

    Raises:
        DataError, OSError: see `parents_of`.
    """
    if folder.meaning.exists():
        return
    values = folder.values()
    parents = {key: parent.to_json() for key, parent in parents_of(values).items()}
    noted = {"config": meaning_digest(values), "code": component_code(values), "parents": parents}
    write_signed_json(folder.meaning, noted)


def meaning_of(folder: RunFolder) -> Meaning:
    """What a run noted when it began.

    Raises:
        ConfigError: its meaning.json, or its config, is damaged.
    """
    if not folder.meaning.exists():
        return Meaning(meaning_digest(folder.values()), {}, {})
    noted = read_object(folder.meaning)
    try:
        return structure(Meaning, noted)
    except ConfigError as error:
        raise ConfigError(f"{folder.meaning} is damaged: {error}; restore it or remove it") from error


def is_meant_by(meaning: Meaning, values: Mapping[str, Any]) -> bool:
    """Whether a resolved config means the same here and now: the same recipe, code of components and data.

    What the run did not note, as those of earlier versions, and what has no digest is not compared.
    """
    if meaning.config != meaning_digest(values):
        return False
    now = component_code(values) if meaning.code else {}
    if any(now.get(name) != digest for name, digest in meaning.code.items()):
        return False
    noted = (item for item in meaning.parents.values() if item.digest is not None)
    return all(described(item.path, tokens=item.kind == TOKENS).digest == item.digest for item in noted)
