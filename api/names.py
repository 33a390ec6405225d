"""Names: what people see of a dataset, a label or a file must be characters, and one line of them."""

from __future__ import annotations

import re

# Controls, line ends, half surrogate pairs, and the mark that stands where bytes were no UTF-8.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffd]")


def showable(text: str) -> bool:
    return _UNSHOWABLE.search(text) is None
