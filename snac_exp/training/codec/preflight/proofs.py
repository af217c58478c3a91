"""The proofs of the preflight by name. No torch here: a plan tells which are left out."""

from collections.abc import Collection

PROOFS = {
    "start": "every head starts where the recipe says",
    "codes": "cached codes are reproduced when their audio is encoded again, row by row, in both splits",
    "sound": "decoded codes and audio line up, at the start and at the end of utterances, in both splits",
    "targets": "separate targets are in time with their sources, row by row, in both splits",
}


def left_out(proofs: Collection[str]) -> list[str]:
    """The proofs that are not among these, in order."""
    return [name for name in PROOFS if name not in proofs]
