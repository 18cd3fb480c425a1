"""`dlfast bench`: the same work on dlfast's backends, on PyTorch and on NumPy, compared, then timed in turns.

A suite is a file in `suites/` that defines ``GROUPS``, a list of `Group`; a group is a list of `Row`; a row builds its
`Work`: an `Operation`, a `Training` or another. Nothing else is to be done to add one: the file's name is the suite's,
with hyphens for underscores. A suite whose rows are drawn, or that needs what few have, defines ``groups(seed, count)``
instead; it runs only where it is named.

    rows.py       Group, Row, Operation          measure.py    compares and times rows
    networks.py   training steps, inference      results.py    ratios, targets, means, JSON
    sequences.py  recurrent layers, networks     report.py, plots.py    what is shown
    updates.py    the optimizer's update         footprint.py  memory, with the pool and without
    timing.py     turns, threads                 pytorch.py, pytorch_networks.py, pytorch_sequences.py    the peer
    ranks.py      steps on several ranks
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType


def suite_names() -> list[str]:
    """The suites there are."""
    return sorted(path.stem.replace("_", "-") for path in Path(__file__).with_name("suites").glob("[a-z]*.py"))


def usual_suites() -> list[str]:
    """Those that run where none is named: all but the drawn ones."""
    return [name for name in suite_names() if hasattr(_suite(name), "GROUPS")]


def load_suite(name: str, seed: int = 1, count: int = 60) -> list:
    """The groups of a suite; seed and count are for one that draws its rows."""
    suite = _suite(name)
    return suite.GROUPS if hasattr(suite, "GROUPS") else suite.groups(seed, count)


def _suite(name: str) -> ModuleType:
    return import_module(f"{__name__}.suites.{name.replace('-', '_')}")
