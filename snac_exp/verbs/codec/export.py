"""Turn a checkpoint into a folder that works without this repository, and publish it.

usage: snac-exp export checkpoint=RUN|FILE|FOLDER|OWNER/NAME output=FOLDER [formats=[snac,fused,…]] [key=value …]
       snac-exp export checkpoint=… output=FOLDER push=USER/REPO licence=mit dry_run=false

Formats: snac (upstream's layout, for the package snac), multirate (safetensors, for load_codec), fused (the same with
folded weight norm, for inference), onnx (encoder and decoders; needs snac_exp[onnx]). Each is loaded again and must
decode to the same samples, ONNX within 1e-4. adversary=true adds the discriminators of a run with adversary=dac, for
the init_from of another run. push= prints what would be uploaded; with dry_run=false it uploads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.system.hub import check_repo_id, upload


@dataclass(frozen=True)
class Options:
    """The keys of conf/export.yaml."""

    checkpoint: str
    allow_heads: list[str]
    output: str
    formats: list[str]
    adversary: bool
    title: str | None
    licence: str | None
    base_licence: str | None
    data_description: str | None
    languages: list[str]
    push: str | None
    dry_run: bool
    private: bool


def main(arguments: Sequence[str]) -> int:
    """Export, and push if asked to."""
    options = structure(Options, verb_values("export", arguments))

    # What a push needs is asked for first: an export takes minutes.
    if options.push is not None:
        check_repo_id(options.push)
        if options.licence is None:
            raise ConfigError(
                "push= needs a licence: set licence=ID, e.g. licence=mit, after you have checked the data's"
            )
    from snac_exp.release.export.folder import Export, export, exported_files
    from snac_exp.release.export.model_card import CardTexts
    from snac_exp.release.loading import open_model

    output = Path(options.output).expanduser()
    texts = CardTexts(
        options.title, options.licence, options.base_licence, options.data_description, tuple(options.languages)
    )
    wanted = Export(tuple(options.formats), texts, options.push, options.adversary)
    opened = open_model(options.checkpoint, options.allow_heads)
    print("\n".join(export(opened, output, wanted)))
    if options.push is None:
        return 0
    # From the folder's index, so that what is uploaded is what was proved.
    files = exported_files(output)
    if options.dry_run:
        print(_plan(options.push, files, options.private))
        return 0
    address = upload(output, list(files), options.push, private=options.private, message="Upload by snac-exp export")
    print(f"pushed to {address}")
    return 0


def _plan(repo_id: str, files: dict[str, int], private: bool) -> str:
    lines = [f"dry run: would upload to {'private' if private else 'public'} repository {repo_id}:"]
    lines += [f"  {size:>12,} bytes  {name}" for name, size in files.items()]
    return "\n".join([*lines, "give the same command with dry_run=false to upload"])
