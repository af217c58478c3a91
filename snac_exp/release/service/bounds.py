"""How much the service takes, of one client and of all."""

from dataclasses import dataclass, fields

from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class Bounds:
    """The keys of `service` in conf/serve.yaml.

    max_body_megabytes, body_seconds: of a request's body and of a message, and for the body to come. max_tokens,
    max_seconds: of a stream, text included, and of its audio. max_streams: decoded at a time. max_streams_per_client:
    of one address, open or waiting; None = as many as of all. max_queue, queue_seconds: that wait for a place, and how
    long. max_unsent_seconds: of audio that a client has not taken; then its decoding pauses. stall_seconds: until a
    client that takes nothing is left. idle_seconds: until one that sends nothing is. open_seconds: for a stream from
    its begin to its end. drain_seconds: for open streams to end, once the service is told to. tick_tokens: coarse
    tokens of one stream that are decoded before the others' turn. decoders: threads that decode, with a batch each;
    None = two where there are two cores, and one for a GPU, which a second would not make faster.
    """

    max_body_megabytes: float
    body_seconds: float
    max_tokens: int
    max_seconds: float
    max_streams: int
    max_streams_per_client: int | None
    max_queue: int
    queue_seconds: float
    max_unsent_seconds: float
    stall_seconds: float
    idle_seconds: float
    open_seconds: float
    drain_seconds: float
    tick_tokens: int
    decoders: int | None

    def __post_init__(self) -> None:
        for item in fields(self):
            least = 0 if item.name in ("max_queue", "drain_seconds") else None
            value = getattr(self, item.name)
            if value is None and item.name in ("max_streams_per_client", "decoders"):
                continue
            # NaN is above nothing.
            if not (value >= 0 if least == 0 else value > 0):
                wanted = "at least 0" if least == 0 else "greater than 0"
                raise ConfigError(f"service.{item.name}={value} must be {wanted}")

    @property
    def max_body_bytes(self) -> int:
        """Of a request's body and of a message."""
        return int(self.max_body_megabytes * 1_000_000)
