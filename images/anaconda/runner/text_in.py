"""What all text formats have in common: UTF-8, with or without a mark at the beginning."""

import codecs

from .refused import Refused

OTHER_ENCODINGS = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))


def check_encoding(beginning: bytes, port: str) -> None:
    """Refuse what says in its first bytes that it is not UTF-8."""
    for mark, name in OTHER_ENCODINGS:
        if beginning.startswith(mark):
            raise Refused("bad_input", f"{port} is in {name}; save it as UTF-8.")
