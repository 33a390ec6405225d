"""The chart of a warm job: where its milliseconds go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from benchmarks.jobs import Done

# In the order of the journey; what a phase is made of, as the records name it, and its colour.
PHASES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("choose a sandbox,\nlay out the inputs", ("stage",), "#7fb3d5"),
    ("the script,\ngo to done", ("run.go",), "#1f618d"),
    ("its process ends", ("run.end",), "#af601a"),
    ("collect and publish", ("collect", "publish"), "#58a66b"),
    ("wait until the\nengine has erased", ("erase",), "#d98880"),
)
REST = "HTTP, store, queue"
REST_COLOUR = "#b2babb"


def shares(done: Sequence[Done]) -> dict[str, float]:
    """Mean milliseconds of each phase over the faster half of the jobs, so that they add up to a job; the rest is everything
    around the worker's rooms. Raises ValueError where there are no jobs."""
    if not done:
        raise ValueError("there are no warm jobs to draw; expected at least one")
    faster = sorted(done, key=lambda each: each.seconds)[: max(1, len(done) // 2)]
    phases = {name: mean(sum(each.milliseconds.get(part, 0.0) for part in parts) for each in faster) for name, parts, _ in PHASES}
    return {REST: mean(1000 * each.seconds for each in faster) - sum(phases.values())} | phases


def draw(done: Sequence[Done], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = shares(done)
    colours = {REST: REST_COLOUR} | {name: colour for name, _, colour in PHASES}
    figure, axes = pyplot.subplots(figsize=(10, 3.6), layout="constrained")
    at = 0.0
    for number, (name, milliseconds) in enumerate(parts.items()):
        axes.barh(0, milliseconds, left=at, height=0.5, color=colours[name], edgecolor="white")
        above = number % 2 == 0
        axes.annotate(
            f"{name}\n{milliseconds:.1f} ms",
            xy=(at + milliseconds / 2, 0.25 if above else -0.25),
            xytext=(at + milliseconds / 2, 0.55 if above else -0.55),
            ha="center",
            va="bottom" if above else "top",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "#566573"},
        )
        at += milliseconds
    axes.set_xlim(0, at)
    axes.set_ylim(-1.25, 1.25)
    axes.set_yticks([])
    axes.set_xlabel("milliseconds from the request to the answer, faster half of the jobs")
    axes.set_title(f"A warm job: {at:.0f} ms, one container of its own, erased")
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
