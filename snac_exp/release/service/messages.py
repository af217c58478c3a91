"""What clients send, as JSON: whole utterances, and the messages of a WebSocket. Anything else is refused."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from snac_exp.release.service.refusal import Kind, Refusal

Whole = Annotated[int, Field(strict=True, ge=-(2**62), le=2**62)]
"""A code or an id; which of them there are is the codec's and the layout's to say."""
_SHOWN = 60  # characters of a value in a message
_MOST_LETTERS = 200  # of a name
_MOST_LISTED = 100  # mistakes; of a message with more only their number is told, as a list of them would take seconds


class _UpToFirst(FailFast):
    __hash__ = object.__hash__  # which a union of types needs


Row = Annotated[list[Whole], _UpToFirst()]
"""Read up to the first mistake."""
M = TypeVar("M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Output(_Strict):
    """How a stream is decoded.

    head, sample_rate: the output by name, or by rate in Hz; without either that of the highest rate. seed: of the
    noise; without one it is drawn. mode: strict refuses ids that do not fit, resync drops and reports them.
    """

    head: str | None = Field(None, max_length=_MOST_LETTERS)
    sample_rate: int | None = Field(None, ge=1, le=2**31)
    seed: int | None = Field(None, ge=0, lt=2**62)
    noise: bool = True
    mode: Literal["strict", "resync"] = "strict"


class Tokens(_Strict):
    """Tokens in one of three forms.

    codes: a list per codebook. ids: of the service's layout; a list per stream where that has several. text: as a
    model writes it, `<custom_token_N>`.
    """

    codes: Annotated[list[Row], _UpToFirst()] | None = None
    ids: Row | Annotated[list[Row], _UpToFirst()] | None = None
    text: str | None = None

    @property
    def form(self) -> str | None:
        """codes, ids or text: the one that is given; Refusal where there are several."""
        given = [name for name in ("codes", "ids", "text") if getattr(self, name) is not None]
        if len(given) > 1:
            raise Refusal(Kind.BAD, f"{' and '.join(given)} are given; send one of codes, ids and text")
        return given[0] if given else None


class Utterance(Output, Tokens):
    """The body of POST /decode. format: a WAV file, or bare PCM (signed 16 bit, little-endian, mono)."""

    format: Literal["wav", "pcm"] = "wav"


class Piece(Tokens):
    """A message of a WebSocket after the first, which is an `Output`. end: no more tokens follow."""

    end: bool = False


def parsed(kind: type[M], data: str | bytes) -> M:
    """A message out of JSON.

    Raises:
        Refusal: it is none; names the field, the position and the value.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise Refusal(Kind.BAD, _first(error, data)) from None
    except ValueError as error:  # of text that has no UTF-8
        raise Refusal(Kind.BAD, f"no JSON: {type(error).__name__}") from None


def _first(error: ValidationError, data: str | bytes) -> str:
    """The mistake that reached furthest: of the two forms of ids, the one that was meant."""
    if error.error_count() > _MOST_LISTED:
        return f"the message has {error.error_count()} mistakes"
    found: Any = max(error.errors(include_url=False, include_context=False), key=lambda item: len(item["loc"]))
    if found["type"] == "json_invalid":
        return f"no JSON of UTF-8: {_shown(found['msg'])}"
    parts = [part for part in found["loc"] if isinstance(part, int) or "[" not in part]
    place = "".join(f"[{part}]" if isinstance(part, int) else f" {_shown(part)}" for part in parts).strip()
    return f"{place or 'the message'}: {found['msg']}, not {_shown(repr(found['input']))}"


def _shown(text: str) -> str:
    """Short, and without what would break a line or a terminal."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[: _SHOWN + 1])
    return plain if len(text) <= _SHOWN else f"{plain[:_SHOWN]}…"
