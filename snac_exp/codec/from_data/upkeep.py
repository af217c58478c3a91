"""What keeps codebooks in use beside gradients: moving averages of their members, and new starts of unused entries."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from snac.vq import ResidualVectorQuantize
from torch import Tensor, nn

from snac_exp.codec.quantization import Quantized, token_mask
from snac_exp.config.schema import Quantizer


class CodebookUpkeep(nn.Module):
    """Counts of how often entries are chosen, per step, and with codebooks=average the sums of what chose them:

        n_k = decay n_k + (1 - decay) (tokens that chose k),   s_k likewise of their projections,   e_k = s_k / n_k

    (van den Oord et al. 2017, arXiv:1711.00937, appendix A.1). An entry with n_k < restart_below * mean n begins anew
    at a projection of the step, with the mean count. Its buffers are all the state; what a step brought is not kept.
    """

    def __init__(self, quantizer: ResidualVectorQuantize, settings: Quantizer) -> None:
        super().__init__()
        self.settings = settings
        self.averages = settings.codebooks == "average"
        self._levels = list(quantizer.quantizers)  # a list: they are the model's
        self._members: list[list[Tensor]] = []
        for i, level in enumerate(self._levels):
            self.register_buffer(f"counts{i}", torch.ones(len(level.codebook.weight)))
            self.register_buffer(f"sums{i}", level.codebook.weight.detach().clone())
        self.begin_step()

    def begin_at(self, counts: Sequence[Tensor]) -> None:
        """Take the codebooks as they are, with these counts (codebook_size,) per step."""
        for i, chosen in enumerate(counts):
            self.get_buffer(f"counts{i}").copy_(chosen)
        self.take_up()

    def take_up(self) -> None:
        """Take the codebooks as they are, with the counts that there are."""
        for i, level in enumerate(self._levels):
            counts = self.get_buffer(f"counts{i}")
            self.get_buffer(f"sums{i}").copy_(level.codebook.weight.detach() * counts[:, None])

    def begin_step(self) -> None:
        """Forget what a step brought that was not made."""
        size = [(len(level.codebook.weight), level.codebook.weight.shape[1]) for level in self._levels]
        self._counts = [torch.zeros(num) for num, _ in size]
        self._sums = [torch.zeros(num, dim) for num, dim in size]
        self._members = [[] for _ in size]

    @torch.no_grad()
    def take_in(self, quantized: Quantized, valid_frames: Tensor) -> None:
        """Note what chose which entry in a micro-batch; only tokens of real frames (B,) count."""
        for i, (level, projected, codes) in enumerate(
            zip(self._levels, quantized.projected, quantized.codes, strict=True)
        ):
            mask = token_mask(codes, level.stride, valid_frames)
            members, chosen = projected.detach().transpose(1, 2)[mask], codes[mask]
            one_hot = F.one_hot(chosen, len(level.codebook.weight)).to(members)
            self._counts[i] = self._counts[i].to(members) + one_hot.sum(0)
            self._sums[i] = self._sums[i].to(members) + one_hot.T @ members
            self._members[i].append(members)

    @torch.no_grad()
    def end_step(
        self, total: Callable[[Tensor], Tensor], in_turn: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> None:
        """Move the codebooks by what the step's micro-batches brought.

        Args:
            total: a tensor of any shape summed over the ranks. in_turn: rows (entries, dimensions) -> the same shape,
                row i as rank (i modulo number of ranks) has it.
            generator: on the CPU, of the members at which unused entries begin anew.
        """
        for i, level in enumerate(self._levels):
            weight, counts, sums = level.codebook.weight, self.get_buffer(f"counts{i}"), self.get_buffer(f"sums{i}")
            decay = self.settings.decay
            counts.mul_(decay).add_(total(self._counts[i]).to(counts), alpha=1 - decay)
            sums.mul_(decay).add_(total(self._sums[i]).to(sums), alpha=1 - decay)
            # A rank with nothing but padding has the entries themselves to offer.
            members = torch.cat(self._members[i]) if any(map(len, self._members[i])) else weight
            fresh = in_turn(members[torch.randint(len(members), (len(weight),), generator=generator)]).to(weight)
            mean = counts.mean()
            unused = counts < self.settings.restart_below * mean
            counts.copy_(torch.where(unused, mean, counts))
            sums.copy_(torch.where(unused[:, None], fresh * mean, sums))
            moved = sums / counts[:, None] if self.averages else torch.where(unused[:, None], fresh, weight)
            weight.copy_(moved)
        self.begin_step()
