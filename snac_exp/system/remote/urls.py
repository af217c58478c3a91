"""Which folders are addresses of a store, `s3://bucket/folder`; everything else is a path."""

import re

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_url(text: str) -> bool:
    """Whether a folder is named by its address in a store."""
    return _URL.match(text) is not None


def protocol_of(url: str) -> str:
    """`s3` of `s3://bucket/folder`."""
    found = _URL.match(url)
    assert found is not None  # whoever asks has asked `is_url` before
    return found[1].lower()
