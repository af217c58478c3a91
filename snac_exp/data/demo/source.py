"""The data source `demo_speech`: synthetic speech, made on first use and then read like any user's folder."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.demo.speech import write_demo_speech
from snac_exp.data.prepared.manifest import MANIFEST_NAME, Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.splits import Splits
from snac_exp.system.locks import one_at_a_time

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

VALIDATION_SPEAKERS = ("val_*",)


@dataclass(frozen=True)
class DemoSpeech:
    """Options of the data source: the speech that is made, then those of CachedCodes.

    directory: keeps `speech-KEY/audio`, `speech-KEY/prepared` and `speech-KEY/codes-FINGERPRINT`, where KEY stands for
    the settings and the synthesiser's own source, so that no change of either reads old speech.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"codes", "audio"})

    directory: str
    num_minutes: float
    num_train_voices: int
    num_validation_voices: int
    seed: int = 0
    target_dir: str | None = None
    limit: int | None = None
    context_tokens: int | None = 0
    validation_seconds: float = 2.0
    validation_slices: int = 16

    def open(self, codec: "LoadedCodec", heads: dict[str, int], seed: int) -> Splits:
        """Make what is missing, then open it as CachedCodes does. Processes that start at once wait for the first."""
        folder = self.folder()
        manifest = self.manifest()
        cache_dir = folder / f"codes-{codec.fingerprint[:12]}"
        with one_at_a_time(folder / ".lock"):
            cache_codes(manifest, codec, cache_dir, device=next(codec.model.parameters()).device)
        source = CachedCodes(
            cache_dir=str(cache_dir),
            target_dir=self.target_dir,
            audio_root=str(manifest.input_dir),
            limit=self.limit,
            context_tokens=self.context_tokens,
            validation_seconds=self.validation_seconds,
            validation_slices=self.validation_slices,
        )
        return source.open(codec, heads, seed)

    def folder(self) -> Path:
        """The folder of this speech, named by a hash of what it depends on."""
        settings = [self.num_minutes, self.num_train_voices, self.num_validation_voices, self.seed]
        key = hashlib.sha256(json.dumps(settings).encode())
        for source in sorted(Path(__file__).parent.glob("*.py")):
            key.update(source.read_bytes())
        return Path(self.directory).expanduser() / f"speech-{key.hexdigest()[:12]}"

    @property
    def prepared(self) -> Path:
        """The prepared folder of this speech."""
        return self.folder() / "prepared"

    def manifest(self) -> Manifest:
        """The rows of the speech, made where it is missing; processes that start at once wait for the first."""
        with one_at_a_time(self.folder() / ".lock"):
            return self._manifest(self.folder())

    def _manifest(self, folder: Path) -> Manifest:
        audio, prepared = folder / "audio", self.prepared
        if not audio.exists():
            partial = folder / "audio.partial"
            write_demo_speech(partial, self.num_minutes, self.seed, self.num_train_voices, self.num_validation_voices)
            # Only whole speech bears the name that is looked for; an interrupted call goes on in the partial folder.
            partial.rename(audio)
        if not (prepared / MANIFEST_NAME).exists():
            prepare(audio, prepared, validation_speakers=VALIDATION_SPEAKERS)
        # The folder may have been moved since: the audio lies beside its manifest, whatever that says.
        return replace(Manifest.read(prepared), input_dir=audio.resolve())
