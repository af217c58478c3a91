"""A tokenizer of bytes as a text model would have it, in a folder that transformers opens; no hub."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BEGIN, END = 256, 257
VOCABULARY = 258
LAYOUT = (f"layout.vocabulary={VOCABULARY}", f"layout.end_of_text={END}", "layout.codebook_size=1024")
"""What `layout=orpheus` needs on the demo codec with this tokenizer."""


def write_large_tokenizer(folder: Path) -> Path:
    """As many tokens, and the same special ones, as Llama 3 has: bytes, names that no text holds, 256 specials."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = [*letters, *(f"\t{number}" for number in range(len(letters), 128_000))]
    made = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(vocab)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    specials = [f"<|reserved_{number}|>" for number in range(256)]
    specials[0], specials[9] = "<|begin_of_text|>", "<|eot_id|>"
    made.add_special_tokens(specials)
    begin = [("<|begin_of_text|>", 128_000)]
    made.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=begin)
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token=specials[0], eos_token=specials[9]).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, *, begins: bool = True, ends: bool = False, more: tuple[str, ...] = ()) -> Path:
    """A token per byte, then <begin> and <end>, then `more`; begins, ends: whether it puts these around every text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<begin>", "<end>", *more])
    template = f"{'<begin> ' if begins else ''}$A{' <end>' if ends else ''}"
    made.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<begin>", BEGIN), ("<end>", END)]
    )
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<begin>", eos_token="<end>").save_pretrained(folder)
    return folder
