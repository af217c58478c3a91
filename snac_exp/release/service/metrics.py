"""What the service counts, for Prometheus. No label ever holds what a client sent."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.5, 3.0, 10.0)
_STREAMS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counts of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        name, registry = "snac_exp_{}".format, self._registry
        self.open = Gauge(name("streams_open"), "Streams that are decoded now", registry=registry)
        self.waiting = Gauge(name("streams_waiting"), "Requests that wait for a place", registry=registry)
        self._ended = Counter(name("streams_ended"), "Streams that ended, by how", ["how"], registry=registry)
        self._refused = Counter(
            name("refused"), "Requests and streams that were refused, by HTTP status", ["status"], registry=registry
        )
        self._tokens = Counter(name("coarse_tokens"), "Coarse tokens that were taken", registry=registry)
        self._audio = Counter(name("audio_seconds"), "Audio that was given to clients", ["head"], registry=registry)
        self._first = Histogram(
            name("first_audio_seconds"),
            "From the first tokens of a stream to its first audio",
            buckets=_SECONDS,
            registry=registry,
        )
        self._pass = Histogram(
            name("decode_pass_seconds"), "One pass of the decoder over all ready streams", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._together = Histogram(
            name("decode_pass_streams"), "Streams that one pass decoded together", buckets=_STREAMS, registry=registry
        )

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def decoded(self, num_streams: int, seconds: float) -> None:
        """A pass of the decoder."""
        self._pass.observe(seconds)
        self._together.observe(num_streams)

    def taken(self, num_tokens: int) -> None:
        """Coarse tokens of some stream."""
        self._tokens.inc(num_tokens)

    def given(self, head: str, seconds: float) -> None:
        """Audio to some client."""
        self._audio.labels(head).inc(seconds)

    def first_audio(self, seconds: float) -> None:
        """Some stream's."""
        self._first.observe(seconds)

    def refused(self, status: int) -> None:
        """Some request or stream."""
        self._refused.labels(str(status)).inc()

    def ended(self, how: str) -> None:
        """Some stream: finished, left, refused, told or broken."""
        self._ended.labels(how).inc()
