"""Matplotlib without a screen, and the figures that a script leaves open."""

import functools
import os
import shutil
import sys

from . import places
from .failure import safe_text

SAVED = "_saved_by_script"
TIGHT_MOST = 3.0


def watch_matplotlib() -> None:
    """Arrange that matplotlib, should the script import it, draws with Agg only and remembers which figures were saved."""
    sys.meta_path.insert(0, Watcher())


class Watcher:
    """An import hook: lets the ordinary finders find matplotlib and adjusts the module when it has been executed."""

    def find_spec(self, name, path=None, target=None):
        if name not in ADJUST:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = Loader(spec.loader, ADJUST[name])
                return spec
        return None


class Loader:
    """A loader that adjusts the module after executing it; in everything else it is the loader it stands for."""

    def __init__(self, loader, adjust):
        self._loader = loader
        self._adjust = adjust

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        try:
            self._adjust(module)
        except AttributeError:
            # A module of the bundle that is only called matplotlib.
            pass


def copy_font_list(_matplotlib) -> None:
    """Put the image's font list where matplotlib will look for its own."""
    try:
        shutil.copytree(places.MATPLOTLIB_READY_MADE, places.MATPLOTLIB, dirs_exist_ok=True)
    except (OSError, shutil.Error):
        # Matplotlib makes another one; it only takes longer.
        pass


def remember_saved(module) -> None:
    """Mark every figure that the script saves itself."""
    savefig = module.Figure.savefig

    # Pyplot looks at the name of the method that it wraps.
    @functools.wraps(savefig)
    def marking_savefig(self, *arguments, **keywords):
        returned = savefig(self, *arguments, **keywords)
        setattr(self, SAVED, True)
        return returned

    module.Figure.savefig = marking_savefig


def show_nothing(pyplot) -> None:
    """`plt.show()` does nothing, and no backend but Agg is ever switched to, by `matplotlib.use` either."""
    switch_backend = pyplot.switch_backend
    pyplot.switch_backend = lambda _backend: switch_backend("agg")
    pyplot.show = lambda *_arguments, **_keywords: None


ADJUST = {"matplotlib": copy_font_list, "matplotlib.figure": remember_saved, "matplotlib.pyplot": show_nothing}


def save_open(most: int, progress) -> None:
    """Save the figures that are still open and that the script never saved, as PNG into the working directory."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    try:
        open_figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
        unsaved = [figure for figure in open_figures if not getattr(figure, SAVED, False)][:most]
    except BaseException as exception:
        progress.note("warning", f"Open figures could not be saved: {safe_text(exception, 200)}")
        return
    for figure in unsaved:
        try:
            figure.savefig(free_name(figure.number), bbox_inches=extent(figure))
        except BaseException as exception:
            progress.note("warning", f"The open figure {figure.number} could not be saved: {safe_text(exception, 200)}")


def extent(figure) -> str | None:
    """`tight`, as notebooks save a figure, so that no long label is cut off; None where something lies so far outside that the
    picture would be many times as large."""
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return "tight" if box.width <= TIGHT_MOST * width and box.height <= TIGHT_MOST * height else None


def free_name(number: object) -> str:
    """`Figure 1.png`, or the next name that no file has."""
    name, copy = f"Figure {number}.png", 1
    while os.path.lexists(os.path.join(places.JOB, name)):
        copy += 1
        name = f"Figure {number} ({copy}).png"
    return os.path.join(places.JOB, name)
