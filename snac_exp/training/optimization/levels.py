"""Heads that fall silent are told, and stop the run where the recipe asks for it."""

from collections.abc import Callable, Mapping

from snac_exp.config.schema.objective import Loss
from snac_exp.errors import ConfigError, SilenceError
from snac_exp.metrics.levels import cause, heads_below

_MOVED_DB = 3.0  # a head that rose by this is on its way; one that fell by this is told again
_FAR_DB = 12.0  # a head further down than this is told where it did not rise, others where they fell


def _no_alert(head: str, text: str) -> None:
    """Nobody is told but the console."""


class LevelGuard:
    """Tells of heads more than 6 dB below their targets: where one has fallen from its start, or is far below and did
    not rise; again when it gets worse; and at the last validation of the run.

    silence_db: a head further below than this ends the run; None = none does. What was told is kept by no checkpoint: a
    resumed run tells again. loss: the objective, of which cause and mend are told. alert: called with each head that is
    told, and the text.

    Raises:
        ConfigError: `silence_db` is not above 0.
    """

    def __init__(self, silence_db: float | None, loss: Loss, alert: Callable[[str, str], None] = _no_alert) -> None:
        if silence_db is not None and not silence_db > 0:
            raise ConfigError(f"trainer.guards.silence_db={silence_db:g} must be above 0 dB, or null")
        self.silence_db = silence_db
        self._loss = loss
        self._alert = alert
        self._began: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def look(self, values: Mapping[str, float], step: int, warn: Callable[[str], None], *, is_last: bool) -> None:
        """Look at the `head/level_db` of a validation, in dB; before the first step nothing has fallen yet: where heads
        begin is told with what became of them.

        Raises:
            SilenceError: a head is more than `silence_db` below its target.
        """
        if step == 0:
            self._began = heads_below(values)
            return
        for head, level in heads_below(values).items():
            began_at = self._began.get(head, 0.0)
            rose, fell = level > began_at + _MOVED_DB, level < began_at - _MOVED_DB
            is_worse = level < self._told.get(head, 0.0) - _MOVED_DB
            if is_last or (is_worse and (fell or (level < -_FAR_DB and not rose))):
                self._told[head] = level
                began = f", and was {-self._began[head]:.1f} dB before the first step" if head in self._began else ""
                text = f"{head} is {-level:.1f} dB below its target{began}. {cause(self._loss, head)}"
                warn(text)
                self._alert(head, text)
        if self.silence_db is None:
            return
        for head, level in heads_below(values, self.silence_db).items():
            raise SilenceError(
                f"step {step}: {head} is {-level:.1f} dB below its target, more than "
                f"trainer.guards.silence_db={self.silence_db:g}. {cause(self._loss, head)}"
            )
