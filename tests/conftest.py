"""What holds for every test: the order of the rungs, and that nothing is left behind."""

from __future__ import annotations

from tests.leftovers import nothing_is_left_over as nothing_is_left_over
from tests.rungs import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.rungs import pytest_runtest_protocol as pytest_runtest_protocol
