"""`snac-exp export`: an exported folder is whole or absent, and pushing it goes on from there."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from snac_exp.codec.checkpoint import fingerprint
from snac_exp.errors import ConfigError
from snac_exp.lineage.chain import LINEAGE_FILE, Link, chain
from snac_exp.lineage.drawing import tree, without_places
from snac_exp.lineage.parents import Parent
from snac_exp.release.blueprint import restore
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.export.formats import FORMATS
from snac_exp.release.export.model_card import CardTexts, model_card
from snac_exp.release.loading import Opened, trained_adversary
from snac_exp.system.checksums.listed_files import INDEX_FILE
from snac_exp.system.files import (
    folder_beside,
    left_beside,
    read_json,
    remove_left,
    sha256_of_file,
    write_signed_json,
    write_text,
)
from snac_exp.system.paths.kind import refuse_file

CARD_FILE = "README.md"


@dataclass(frozen=True)
class Export:
    """What to write: names of `formats.FORMATS`, texts of the card, the name the card gives to the model, and whether
    the discriminators go along."""

    formats: tuple[str, ...]
    texts: CardTexts
    repo_id: str | None
    adversary: bool = False


def export(opened: Opened, output: Path, wanted: Export) -> list[str]:
    """Write the folder, or find it there already, complete and of this very export.

    Returns:
        What was written and proved, line by line.

    Raises:
        ConfigError: `output` holds something else, or a format has another name.
        CheckpointError: a form does not decode as the model does.
    """
    settings = _settings(opened, wanted)
    if wanted.adversary:
        opened = _with_adversary(opened, wanted)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        _require_same(output, settings)
        return [f"{output} holds this export already, unchanged"]
    # What a killed export left beside it, half-written.
    remove_left(left_beside(output))
    with folder_beside(output) as temporary:
        lines = [FORMATS[name](opened, temporary) for name in wanted.formats]
        lineage = without_places(_lineage(opened))
        write_signed_json(temporary / LINEAGE_FILE, lineage.to_json())
        write_text(temporary / CARD_FILE, _card(opened, wanted, temporary, output, lineage))
        # Last, over all that is there: the hashes prove later that nothing was changed.
        index = {"export": settings, "files": {name: sha256_of_file(temporary / name) for name in _files(temporary)}}
        write_signed_json(temporary / INDEX_FILE, index)
        if output.exists():
            if any(output.iterdir()):
                raise ConfigError(f"another process has filled {output} meanwhile; run this command again")
            output.rmdir()
        # One rename, so the folder is there with all its files or not at all.
        temporary.rename(output)
    return [*lines, f"{CARD_FILE}: the model card", f"{LINEAGE_FILE}: what it was made from", f"exported to {output}"]


def exported_files(output: Path) -> dict[str, int]:
    """Names and sizes in bytes of an exported folder's files, the index left out: it is for this machine."""
    return {name: (output / name).stat().st_size for name in _index(output)["files"]}


def _index(output: Path) -> dict[str, Any]:
    """What the folder says of its export.

    Raises:
        ConfigError: it is damaged.
    """
    file = output / INDEX_FILE
    try:
        index = read_json(file)
        if not isinstance(index, dict) or not isinstance(index.get("files"), dict):
            raise ValueError("it lists no files")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is damaged ({error}); export into a new folder") from None
    return index


def _settings(opened: Opened, wanted: Export) -> dict[str, Any]:
    unknown = sorted(set(wanted.formats) - set(FORMATS))
    if unknown or not wanted.formats:
        found = f"{', '.join(unknown)} is" if unknown else "an empty list holds"
        raise ConfigError(f"formats: {found} no form of export; choose one of: {', '.join(FORMATS)}")
    return {
        "weights": fingerprint(opened.model),
        "formats": sorted(wanted.formats),
        "texts": asdict(wanted.texts) | {"languages": list(wanted.texts.languages)},
        "repo_id": wanted.repo_id,
        # Only where they are asked for: earlier exports are found again.
        **({"adversary": True} if wanted.adversary else {}),
    }


def _with_adversary(opened: Opened, wanted: Export) -> Opened:
    """The model with the discriminators of its checkpoint or folder.

    Raises:
        ConfigError: no form that holds them is written. CheckpointError: there are none that have trained.
    """
    if "multirate" not in wanted.formats:
        raise ConfigError(
            f"adversary=true goes beside multirate, and formats={list(wanted.formats)} is without; add it"
        )
    return replace(opened, adversary=trained_adversary(Path(opened.source)))


def _lineage(opened: Opened) -> Link:
    """What the model was made from, as far as that lies on this machine."""
    if Path(opened.source).expanduser().exists():
        return chain(opened.source)
    return Link("", Parent("codec", opened.source, None, {"from": "the hub"}))


def _card(opened: Opened, wanted: Export, folder: Path, output: Path, lineage: Link) -> str:
    model = restore(opened.blueprint, opened.model.state_dict(), opened.source, folded=opened.folded)
    names = [f"{path.name}/" if path.is_dir() else path.name for path in sorted(folder.iterdir())]
    codec = ReleasedCodec(model, opened.blueprint)
    return model_card(opened, codec, wanted.texts, wanted.repo_id or output.name, names, tree(lineage))


def _files(folder: Path) -> Sequence[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _require_same(output: Path, settings: dict[str, Any]) -> None:
    index = _index(output) if (output / INDEX_FILE).is_file() else {}
    if index.get("export") != settings:
        refuse_file(output, "a folder; choose another one", ConfigError)
        raise ConfigError(f"{output} exists and holds something else; give a new folder, nothing was touched")
    # Also the files: someone may have edited the card since, and pushing must not pass that off as the export.
    for name, digest in index["files"].items():
        if not (output / name).is_file() or sha256_of_file(output / name) != digest:
            raise ConfigError(f"{output / name} is not the file that was exported; export into a new folder")
