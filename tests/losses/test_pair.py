import pytest
import torch

from snac_exp.errors import ConfigError
from snac_exp.losses.pair import SignalPair
from snac_exp.losses.terms.l1 import l1
from snac_exp.losses.terms.log_mel import log_mel
from snac_exp.losses.terms.stft_complex import stft_complex
from snac_exp.losses.terms.stft_magnitude import stft_magnitude

TERMS = (l1, stft_complex, stft_magnitude, log_mel)
VALID = torch.tensor([6000, 8000, 2500])


def _pair(prediction, target, valid=VALID, n_ffts=(256, 1024), **options):
    return SignalPair(prediction, target, valid, 24000, n_ffts, **options)


def _noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("term", TERMS)
def test_s09_padding_has_no_influence_and_no_gradient(term):
    prediction, target = _noise(3, 1, 8000), _noise(3, 1, 8000, seed=1)
    beyond = torch.arange(8000) >= VALID[:, None, None]
    losses, gradients = [], []
    for filling in (0.0, 1e3, float("nan")):
        leaf = prediction.masked_fill(beyond, filling).requires_grad_()
        loss = term(_pair(leaf, target.masked_fill(beyond, -filling)))
        loss.backward()
        losses.append(loss.item())
        gradients.append(leaf.grad)
    assert losses[0] == losses[1] == losses[2] > 0
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])
    assert gradients[0][beyond].abs().max() == 0
    assert gradients[0][~beyond].abs().max() > 0


def test_s09_the_mean_is_over_valid_samples_alone():
    prediction, target = _noise(3, 1, 8000), _noise(3, 1, 8000, seed=1)
    real = [(prediction - target)[row, 0, : VALID[row]] for row in range(3)]
    assert l1(_pair(prediction, target)).item() == pytest.approx(torch.cat(real).abs().mean().item(), rel=1e-6)


def test_s09_frames_count_while_their_centre_is_real():
    prediction, target = _noise(3, 1, 8000), _noise(3, 1, 8000, seed=1)
    pair = _pair(prediction, target, n_ffts=(1024,))
    frames = []
    for row, valid in enumerate(VALID.tolist()):
        cut = torch.nn.functional.pad((prediction - target)[row, :, :valid], (0, 8000 - valid))
        spectrum = torch.stft(cut, 1024, window=torch.ones(1024), return_complex=True)[0]
        frames.append(torch.view_as_real(spectrum[:, : valid // 256 + 1]).abs().mean(dim=(0, 2)))
    assert stft_complex(pair).item() == pytest.approx(2 * torch.cat(frames).mean().item(), rel=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_an_empty_row_takes_no_part(term):
    prediction, target = _noise(2, 1, 4000), _noise(2, 1, 4000, seed=1)
    alone = term(_pair(prediction[:1], target[:1], torch.tensor([4000])))
    assert term(_pair(prediction, target, torch.tensor([4000, 0]))).item() == pytest.approx(alone.item(), rel=1e-6)
    assert term(_pair(prediction, target, torch.tensor([0, 0]))).item() == 0


def test_spectra_are_made_once_per_size_and_signal(monkeypatch):
    calls = []
    rfft = torch.fft.rfft
    monkeypatch.setattr(
        torch.fft, "rfft", lambda frames, **options: calls.append(frames.shape) or rfft(frames, **options)
    )
    pair = _pair(_noise(3, 1, 8000), _noise(3, 1, 8000, seed=1))
    stft_complex(pair), stft_magnitude(pair)
    assert calls == [(3, 126, 256), (3, 126, 256), (3, 32, 1024), (3, 32, 1024)]  # prediction, target


@pytest.mark.parametrize("window", [None, "hann"])
@pytest.mark.parametrize("normalized", [False, True])
def test_gradients_of_spectra_are_torch_stfts(window, normalized):
    leaf = _noise(2, 1, 3000).double()
    taper = None if window is None else torch.hann_window(256, dtype=torch.float64)
    gradients = []
    for ours in (True, False):
        signal = leaf.clone().requires_grad_()
        if ours:
            lengths = torch.tensor([3000, 3000])
            pair = SignalPair(signal, leaf, lengths, 16000, (256,), window, normalized)
            spectrum = pair.stft(256)[0]
        else:
            spectrum = torch.stft(
                signal[:, 0], 256, 64, window=taper, normalized=normalized, return_complex=True
            ).transpose(1, 2)
        weights = torch.randn(spectrum.shape, dtype=spectrum.dtype, generator=torch.Generator().manual_seed(0))
        (spectrum.conj() * weights).real.sum().backward()
        gradients.append(signal.grad)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_a_term_measured_without_a_graph_leaves_the_graph_to_others():
    leaf = _noise(3, 1, 8000).requires_grad_()
    pair = _pair(leaf, _noise(3, 1, 8000, seed=1))
    with torch.no_grad():
        stft_magnitude(pair)
    stft_complex(pair).backward()
    assert leaf.grad.abs().max() > 0


def test_a_mel_bank_made_in_validation_serves_training():
    target = _noise(1, 1, 8000)
    with torch.no_grad():
        log_mel(SignalPair(target, target, torch.tensor([8000]), 16000, (256,)))
    leaf = _noise(1, 1, 8000, seed=1).requires_grad_()
    log_mel(SignalPair(leaf, target, torch.tensor([8000]), 16000, (256,))).backward()
    assert leaf.grad.abs().max() > 0


def test_signals_too_short_to_reflect_are_refused():
    short = torch.zeros(1, 1, 512)
    with pytest.raises(ConfigError, match=r"512 samples are too short for an STFT of n_fft=1024.*loss\.n_ffts"):
        stft_complex(_pair(short, short, torch.tensor([512])))
    longer = torch.zeros(1, 1, 513)
    assert stft_complex(_pair(longer, longer, torch.tensor([513]))).item() == 0


def test_wrong_shapes_and_windows_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 1, N\)"):
        _pair(torch.zeros(1, 10), torch.zeros(1, 10))
    with pytest.raises(ValueError, match=r"\(1, 1, 10\) and \(1, 1, 11\)"):
        _pair(torch.zeros(1, 1, 10), torch.zeros(1, 1, 11))
    with pytest.raises(ConfigError, match=r"loss\.window='kaiser'"):
        stft_complex(_pair(_noise(1, 1, 2000), _noise(1, 1, 2000), torch.tensor([2000]), window="kaiser"))
