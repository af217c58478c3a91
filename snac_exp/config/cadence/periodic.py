"""What comes back every so many epochs or steps: validations, and samples at some of them."""

from dataclasses import dataclass

from snac_exp.config.schema import Trainer
from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class Moment:
    """A place in a run between two steps: epochs and steps that are done (of an epoch under way its own number), and
    whether the epoch, or the whole run, is over."""

    epoch: int
    step: int
    ends_epoch: bool = False
    ends_run: bool = False


def validates(trainer: Trainer, moment: Moment) -> bool:
    """Whether a validation is due: every so many steps where the recipe says so, else epochs; always before the first
    step and after the last one."""
    if moment.step == 0:
        return True
    if trainer.validate_every_steps is not None:
        # Within the epoch: at its end all but the end of the run is done already.
        at_step = moment.step % trainer.validate_every_steps == 0
        return not at_step if moment.ends_run else at_step and not moment.ends_epoch
    return moment.ends_epoch and (moment.epoch % trainer.validate_every_epochs == 0 or moment.ends_run)


def writes_samples(trainer: Trainer, moment: Moment) -> bool:
    """Whether a validation also writes samples."""
    if trainer.num_sample_clips == 0:
        return False
    if trainer.validate_every_steps is None:
        return moment.epoch % trainer.samples_every_epochs == 0
    return moment.step % (trainer.samples_every_steps or 1) == 0


def check_periodic(trainer: Trainer) -> None:
    """Samples are written at validations.

    Raises:
        ConfigError: samples by steps without validations by steps, or at steps that have none.
    """
    samples, validations = trainer.samples_every_steps, trainer.validate_every_steps
    if samples is None:
        return
    if validations is None:
        raise ConfigError(
            f"trainer.samples_every_steps={samples}: samples are written at validations, and these go by epochs; set "
            "trainer.validate_every_steps too, or use samples_every_epochs"
        )
    if samples % validations:
        near = max(1, samples // validations) * validations
        raise ConfigError(
            f"trainer.samples_every_steps={samples}: samples are written at validations, which are every {validations} "
            f"steps; use a multiple of trainer.validate_every_steps, like {near}"
        )
