"""The data source `demo_speech_audio`: the demo's synthetic speech as raw audio, for codecs whose encoder trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from snac_exp.data.demo.source import DemoSpeech
from snac_exp.data.slices.audio_folder import AudioFolder
from snac_exp.data.slices.splits import Splits

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec


@dataclass(frozen=True)
class DemoSpeechAudio(DemoSpeech):
    """Options of the data source: those of DemoSpeech. No codes are cached."""

    provides: ClassVar[frozenset[str]] = frozenset({"audio"})

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Make the speech where it is missing, then open it as AudioFolder does."""
        manifest = self.manifest()
        source = AudioFolder(
            path=str(self.prepared),
            target_dir=self.target_dir,
            audio_root=str(manifest.input_dir),
            limit=self.limit,
            context_tokens=self.context_tokens,
            validation_seconds=self.validation_seconds,
            validation_slices=self.validation_slices,
        )
        return source.open(codec, heads, seed)
