"""Reconstruction terms, one a file: how far a predicted waveform is from its target.

A bare number in `loss.terms` is the weight of the function of that name in the file of that name. A term maps a
`SignalPair` to a scalar, the mean over the valid part of the whole batch. p and y are prediction and target, X_n(p) and
X_n(y) their STFTs with n samples per frame and a hop of n / 4.
"""
