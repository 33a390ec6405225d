"""The readers of pages can fail: what they find, what they refuse, and what counts as the output that a page shows."""

from __future__ import annotations

import pytest

from tests.docs.blocks import parse
from tests.docs.outputs import difference

PAGE = """\
Text.

<!-- not run: it would install packages on this machine -->

```sh
make run
```

```text
done
```

1. A step.

    ```python title="plot.py"
    x = 1
    ```

<!-- ends with 2 -->
```sh
fumehood nothing
```

And then:

```text
no such command
```
"""


def test_blocks_carry_their_marks_their_file_and_their_output() -> None:
    made, plot, failing = parse(PAGE, "page.md")
    assert (made.not_run, made.runs, made.expected, made.line) == ("it would install packages on this machine", False, ("done\n",), 5)
    assert (plot.file, plot.text, plot.runs) == ("plot.py", "x = 1\n", False)
    assert (failing.exit_code, failing.runs, failing.expected) == (2, True, ("no such command\n",))


@pytest.mark.parametrize(
    "markdown",
    ["<!-- skip -->\n```sh\ntrue\n```\n", "```text\nhello\n```\n", "```json\n{}\n```\n```text\nhello\n```\n"],
)
def test_a_mark_that_means_nothing_and_output_of_nothing_are_refused(markdown: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md, line"):
        parse(markdown, "page.md")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a  b\n\nc\n", "a b\nc\n"),
        ("b\nc", "a\nb\nc\nd"),
        ("first\n…\nlast\n", "first\n2\n3\nlast\n"),
        ("first\n…\n", "first\n"),
        ("job_0123456789abcdef0123456789abcdef done", "job_ffffffffffffffffffffffffffffffff done"),
        ("took 0.6 s and 12 MB", "took 12.1 s and 1,204.5 MB"),
        ("name … end", "name of what comes, end"),
    ],
)
def test_what_differs_each_time_does_not_count(shown: str, printed: str) -> None:
    assert difference([shown], printed) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("0.28", "0.29"),
        ("a\nb", "a"),
        ("a\nc", "a\nb\nc"),
        ("a", "aa"),
        ("a\n…\nc", "a\nb"),
        ("768 rows", "769 rows"),
        ("", "something"),
        ("a", "b"),
    ],
)
def test_what_says_something_else_does_count(shown: str, printed: str) -> None:
    assert difference([shown], printed) is not None


def test_excerpts_stand_in_their_order() -> None:
    assert difference(["a", "c"], "a\nb\nc") is None
    assert difference(["c", "a"], "a\nb\nc") is not None
