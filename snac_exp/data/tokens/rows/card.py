"""The data card of an export, README.md: what the rows are, how they were made, how to open them."""

from collections.abc import Mapping

import yaml

from snac_exp.data.tokens.rows.options import ExportOptions
from snac_exp.data.tokens.rows.plan import Plan
from snac_exp.data.tokens.rows.utterances import Utterances
from snac_exp.lm.layouts.layout import Layout
from snac_exp.system.markup.markdown import code, fenced, plain, table

_COLUMNS = {
    "input_ids": "the sequence that a model is trained on",
    "labels": "the same ids: all of them are scored",
    "attention_mask": "ones",
    "text": "what the text model reads, or null",
    "speaker": "who speaks",
    "seconds": "length of the audio; the last frame may reach beyond it",
    "path": "of the audio, relative to its folder",
}


def data_card(utterances: Utterances, plan: Plan, num_ids: Mapping[str, int]) -> str:
    """The text of README.md. num_ids: of each split."""
    options = utterances.options
    parts = [
        f"---\n{yaml.safe_dump(_front(options, plan), sort_keys=False)}---",
        f"# Speech as ids, layout {plain(utterances.layout.name)}",
        f"Codes of codec {code(utterances.table.spec.codec_name)} "
        f"({utterances.table.spec.sampling_rate} Hz, codec {code(utterances.table.spec.codec_fingerprint[:12])}), "
        "written and read back by snac-exp: the codes of every row are those of the cache, bit for bit.",
        _splits(plan, num_ids),
        _opening(options),
        "## Columns",
        table(["column", "what it is"], [[code(name), text] for name, text in _COLUMNS.items()]),
        "## Ids",
        _ids(utterances.layout),
        "## What was left out",
        *_left_out(options, plan),
    ]
    return "\n\n".join(parts) + "\n"


def _front(options: ExportOptions, plan: Plan) -> dict[str, object]:
    """What the hub and `load_dataset` read."""
    front: dict[str, object] = {"tags": ["speech", "snac"]}
    if options.format != "hf":
        files = [{"split": split, "path": names} for split, names in plan.splits.items()]
        front["configs"] = [{"config_name": "default", "data_files": files}]
    return front


def _splits(plan: Plan, num_ids: Mapping[str, int]) -> str:
    rows = [
        [code(split), str(len(names)), str(sum(len(plan.files[name]) for name in names)), str(num_ids[split])]
        for split, names in plan.splits.items()
    ]
    total = f"{plan.counts.rows} rows of {plan.counts.utterances} utterances, {plan.counts.seconds / 3600:.2f} hours."
    return f"{table(['split', 'files', 'rows', 'ids'], rows, 'lrrr')}\n\n{total}"


def _opening(options: ExportOptions) -> str:
    call = 'load_from_disk("FOLDER")' if options.format == "hf" else 'load_dataset("FOLDER")'
    name = call.partition("(")[0]
    return fenced(f"from datasets import {name}\n\nrows = {call}", "python")


def _ids(layout: Layout) -> str:
    places = [
        [str(number), str(place.codebook), str(place.index), f"{place.first} to {place.first + place.size - 1}"]
        for number, place in enumerate(layout.places)
    ]
    specials = {} if layout.specials is None else {**vars(layout.specials), "end_of_text": layout.end_of_text}
    others = [[plain(name.replace("_", " ")), str(value)] for name, value in specials.items()]
    text = [f"Ids below {layout.vocabulary} are text.", f"A model needs a vocabulary of {layout.num_ids} ids."]
    frames = table(["place of the frame", "codebook", "token of it", "ids"], places, "rrrr")
    return "\n\n".join(
        [
            " ".join(text[0 if layout.vocabulary else 1 :]),
            frames,
            *([table(["special", "id"], others, "lr")] if others else []),
        ]
    )


def _left_out(options: ExportOptions, plan: Plan) -> list[str]:
    counts = plan.counts
    lines = [f"{counts.dropped} utterances ({counts.dropped_seconds:.1f} s), listed in `rejected.parquet`."]
    if options.max_tokens is not None:
        lines += [f"A row has at most {options.max_tokens} ids; {counts.split} utterances were cut into several rows."]
    if options.drop_repeated_frames:
        lines += [
            f"{counts.repeated_frames} frames ({counts.repeated_seconds:.1f} s) whose first code is that of the frame "
            "before: audio of these rows is shorter than its source."
        ]
    return lines
