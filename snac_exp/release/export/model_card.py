"""The model card: what the model is, how it was made, how good it is, how to use it, under which licence."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from snac_exp import __version__
from snac_exp.codec.geometry import Geometry
from snac_exp.errors import CheckpointError
from snac_exp.metrics.keys import by_candidate
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import METRICS
from snac_exp.release.blueprint import Blueprint
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.loading import Opened
from snac_exp.release.outputs import labels_of, rate_label
from snac_exp.system.files import read_json
from snac_exp.system.markup.markdown import code, fenced, plain, table
from snac_exp.tracking.run_folder import RunFolder

RECIPE_KEYS = ("heads", "init", "curriculum", "lr", "loss", "task", "trainer", "seed")
"""Parts of the stored config that belong into a card; the others say where files lie on somebody's machine."""

_FILES = {
    "config.json": "the output at the codec's own rate in upstream's layout, with `pytorch_model.bin`",
    "pytorch_model.bin": "its weights",
    "snac_exp.json": "the model with all outputs, with `model.safetensors`",
    "model.safetensors": "its weights, weight norm as in training",
    "fused/": "the same for inference: weight norm folded",
    "lineage.json": "what the model was made from, with digests",
    "onnx/": "encoder and decoder graphs; `onnx.json` describes their inputs",
}


@dataclass(frozen=True)
class CardTexts:
    """What only a person can say.

    Attributes:
        licence: SPDX id of these weights, e.g. mit; None = not stated.
        base_licence: of the codec it was trained from.
        data: one or more sentences on the training data, where it came from and its licence.
        languages: ISO codes of the languages in the data.
    """

    title: str | None = None
    licence: str | None = None
    base_licence: str | None = None
    data: str | None = None
    languages: Sequence[str] = ()


def model_card(
    opened: Opened, codec: ReleasedCodec, texts: CardTexts, repo_id: str, files: Sequence[str], lineage: Sequence[str]
) -> str:
    """The text of README.md for an exported folder; `files` are the names in it, folders with a slash; `lineage` are
    lines that tell what the model was made from."""
    # Markdown, not HTML: texts from files are escaped one by one.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["plain"] = plain
    native = codec.geometry.sampling_rate
    summary = _summary(opened)
    return environment.get_template("model_card.md.j2").render(
        front_matter=_front_matter(opened.blueprint, texts),
        title=plain(texts.title or f"{opened.blueprint.name}, {_rates(codec)}"),
        name=code(opened.blueprint.name),
        rates=_rates(codec),
        bitrate=codec.bitrate,
        recipe_name=code(str(_config(opened).get("name", "unknown"))),
        package_version=__version__,
        facts=_properties(opened, codec),
        repo_id=_quoted(repo_id),
        decode_options=_decode_options(codec),
        native_rate=native,
        has_snac="pytorch_model.bin" in files,
        files=[(name, _FILES[name]) for name in files if name in _FILES],
        data_summary=_data_summary(opened, texts),
        evaluation=_evaluation(summary),
        num_utterances=round(summary.get("count/utterances", 0)),
        lineage=fenced("\n".join(lineage), "text"),
        recipe=fenced(recipe_yaml(_config(opened)), "yaml"),
        licence=_licence(opened.blueprint, texts),
    )


def recipe_yaml(config: Mapping[str, Any]) -> str:
    """The recipe's part of a run's config as YAML; absolute paths, which tell of a machine, become `…`."""
    recipe = {key: _without_paths(config[key]) for key in RECIPE_KEYS if key in config}
    text: str = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100)
    return text


def _summary(opened: Opened) -> dict[str, float]:
    """The run's summary.json, or nothing.

    Raises:
        CheckpointError: it is there but damaged.
    """
    # A checkpoint that was copied out of its run has no summary; the card then has no table.
    path = None if opened.run_dir is None else RunFolder(opened.run_dir).summary
    if path is None or not path.is_file():
        return {}
    try:
        summary = read_json(path)
        return {str(key): float(value) for key, value in summary.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); evaluate the run again or move the file away") from None


def _evaluation(summary: Mapping[str, float]) -> str:
    """A Markdown table: a row per candidate of the summary, a column per metric that it has."""
    values = by_candidate(summary)
    shown = [metric for metric in METRICS if any(metric.name in found for found in values.values())]
    if not shown:
        return ""
    columns = ["", *(f"{metric.full_title} {metric.arrow}".rstrip() for metric in shown)]
    rows = [
        [plain(name), *(_number(metric, found.get(metric.name)) for metric in shown)] for name, found in values.items()
    ]
    return table(columns, rows)


def _properties(opened: Opened, codec: ReleasedCodec) -> list[tuple[str, str]]:
    geometry: Geometry = codec.geometry
    rates = [f"{geometry.sampling_rate / geometry.hop_length / stride:.1f}" for stride in geometry.vq_strides]
    properties = [
        ("outputs", ", ".join(f"{head} ({rate} Hz)" for head, rate in codec.heads.items())),
        ("codebooks", f"{len(rates)} of {', '.join(map(str, codec.codebook_sizes))} entries"),
        ("tokens per second", ", ".join(rates)),
        ("parameters", f"{sum(item.numel() for item in opened.model.parameters()) / 1e6:.2f} M"),
        ("weights of the codec before training (SHA-256)", opened.blueprint.pretrained_fingerprint or "unknown"),
    ]
    if opened.checkpoint is not None:
        properties.append(("optimiser steps", str(opened.checkpoint.state.step)))
        properties.append(("audio trained on", f"{opened.checkpoint.state.audio_seconds / 3600:.1f} h"))
        properties.append(("trained with torch", str(opened.checkpoint.environment.get("torch"))))
    return properties


def _data_summary(opened: Opened, texts: CardTexts) -> str:
    lines = [plain(texts.data)] if texts.data else ["The origin of the training data was not stated."]
    data = _config(opened).get("data")
    if isinstance(data, dict) and "_target_" in data:
        lines.append(f"Read by {code(str(data['_target_']))}.")
    plan = None if opened.run_dir is None else RunFolder(opened.run_dir).plan
    if plan is not None and plan.is_file():
        lines.append(f"{read_json(plan)['num_items'][0]} training utterances.")
    return " ".join(lines)


def _licence(blueprint: Blueprint, texts: CardTexts) -> str:
    own = code(texts.licence) if texts.licence else "not stated; ask before you use them"
    base = code(texts.base_licence) if texts.base_licence else "not stated here; see its own card"
    return f"These weights: {own}. The codec they were trained from, {code(blueprint.name)}: {base}."


def _front_matter(blueprint: Blueprint, texts: CardTexts) -> str:
    values: dict[str, Any] = {
        "license": texts.licence or "other",
        "library_name": "snac_exp",
        "pipeline_tag": "audio-to-audio",
        "tags": ["snac", "audio-codec", "neural-codec", "speech"],
    }
    if texts.languages:
        values["language"] = list(texts.languages)
    if not texts.licence:
        values["license_name"] = "not-stated"
    # The hub's metadata wants a repository; upstream published these three.
    if blueprint.name in ("snac_24khz", "snac_32khz", "snac_44khz"):
        values["base_model"] = f"hubertsiuzdak/{blueprint.name}"
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text


def _config(opened: Opened) -> dict[str, Any]:
    return {} if opened.checkpoint is None else opened.checkpoint.config


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    # Absolute on Unix, below a home, or with a drive on Windows.
    return "…" if isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:\\)", value) else value


def _rates(codec: ReleasedCodec) -> str:
    return " and ".join(
        f"{rate_label(rate).removesuffix('k')} {'kHz' if rate % 1000 == 0 else 'Hz'}" for rate in codec.sample_rates
    )


def _decode_options(codec: ReleasedCodec) -> str:
    """What names the widest output in a call of `decode`."""
    head, rate = list(codec.heads.items())[-1]
    return f"sample_rate={rate}" if labels_of(codec.heads)[head] != head else f"head={_quoted(head)}"


def _quoted(text: str) -> str:
    """A text as Python writes it."""
    return json.dumps(text, ensure_ascii=False)


def _number(metric: Metric, value: float | None) -> str:
    return "" if value is None else metric.text(value)
