"""Metrics that training computes and logs, of codec and token models: how they are shown."""

from snac_exp.metrics.metric import Metric

OBJECTIVE = Metric("objective", "objective", order=200)
LOSS = Metric("loss", "loss", order=210)
LOG_MEL = Metric("log_mel", "log-mel", "log10", order=35)
CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats", order=220)
PERPLEXITY = Metric("perplexity", "perplexity", order=230)
BITS_PER_SECOND = Metric("bits_per_second", "bits per second of audio", "bit/s", order=240, headline=True)
ACCURACY = Metric("accuracy", "accuracy", "fraction", better="higher", order=250)
GRAD_NORM = Metric("grad_norm", "gradient norm", better=None, order=260)
