"""What a data source declares to provide, read from its class without importing it."""

from snac_exp.config.schema import Component
from snac_exp.config.source_code import declared_set
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError

KINDS = ("audio", "codes", "tokens")  # `provided_by` explains them


def provided_by(data: Component) -> frozenset[str]:
    """`provides` of a data source: audio (targets, and what an encoder in the step reads), codes (cached beside the
    audio; the encoder is not run), tokens (frames for a token model).

    Raises:
        ConfigError: the class and its bases declare nothing, or a word that means nothing here.
    """
    provides = declared_set(data.target, "provides", "data")
    if provides is None:
        raise ConfigError(
            f"data: {data.target} does not declare what it provides; add to the class: "
            f'provides: ClassVar[frozenset[str]] = frozenset({{"audio"}}), of {", ".join(KINDS)}'
        )
    for word in provides - set(KINDS):
        raise ConfigError(f"data: {data.target}.provides has '{word}'{nearest(word, KINDS)}")
    return provides
