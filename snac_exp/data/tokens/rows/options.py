"""What a user may ask of an export."""

from dataclasses import dataclass
from string import Formatter
from typing import Literal

from snac_exp.data.tokens.rows.files import Format
from snac_exp.errors import ConfigError

_FIELDS = frozenset({"text", "speaker"})


@dataclass(frozen=True)
class ExportOptions:
    """How utterances become rows, and rows files; keys of conf/tokens.yaml.

    max_tokens: most ids of a row; None = any number. too_long: what becomes of an utterance that has more.
    prompt: what the text model reads, of `{text}` and `{speaker}`. tokenizer: folder or hub id, None = texts stay text.

    Raises:
        ConfigError: a number or a template that is not possible; names the key.
    """

    format: Format = "parquet"
    rows_per_shard: int = 1000
    max_tokens: int | None = None
    too_long: Literal["drop", "split"] = "drop"
    drop_repeated_frames: bool = False
    prompt: str = "{text}"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        for key, value in (("rows_per_shard", self.rows_per_shard), ("max_tokens", self.max_tokens)):
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value} must be at least 1")
        try:
            fields = {name for _, name, _, _ in Formatter().parse(self.prompt) if name is not None}
            self.prompted("", "")
        except (ValueError, LookupError, AttributeError) as error:
            raise ConfigError(
                f"prompt={self.prompt} is no template ({error}); write {{text}} and {{speaker}}"
            ) from None
        if not {"text"} <= fields <= _FIELDS:
            raise ConfigError(f"prompt={self.prompt} must hold {{text}}, and may hold {{speaker}}")

    def prompted(self, text: str, speaker: str) -> str:
        """The template with its fields filled in."""
        return self.prompt.format(text=text, speaker=speaker)
