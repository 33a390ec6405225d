"""A script in its place: opened once, called once. Between the two its sandbox may wait for the call."""

from . import context, described, entry_point, figures, parameter_texts, places, script_module

INIT_LEFT_OUT = (
    f"The script defines {context.INIT}(), which is only called where {entry_point.NAME} has a parameter called {context.NAME!r} for what it returns."
)


class Placed:
    """The script with what its imports find. Nothing of it has run before `open`."""

    def __init__(self, wheels: list[str], modules_at_start: frozenset[str]):
        """`wheels`: paths of the bundle's wheels."""
        self._script = script_module.Script.place(wheels)
        self._shadows = script_module.Shadows(places.BUNDLE, modules_at_start)
        self._function = None
        self._init = context.Init()
        figures.watch_matplotlib()

    def open(self, description=described.UNASKED) -> None:
        """Run the top level, and `init` where the entry point takes a context.

        Raises:
            Refused: `bad_entry_point`. What the script raises, it raises.
        """
        with self._shadows:
            module = self._script.execute()
            self._function, self._init = entry_point.find(module), context.Init.of(module)
            description.entry(self._function, self._init)

    def initialise(self) -> None:
        """Call `init` ahead of the call, where the entry point takes what it returns."""
        with self._shadows:
            entry_point.initialise(self._function, self._init)

    def call(self, frames: list, values: dict, texts: dict, types: dict, progress) -> object:
        """What the entry point returns. `texts` are further parameters, to be read as it takes them, or as `types` of its publisher say.

        Raises:
            Refused: `bad_entry_point`, `bad_parameters`. What the script raises, it raises.
        """
        with self._shadows:
            values = parameter_texts.read(self._function, texts, values, types)
            arguments, keywords = entry_point.bind(self._function, frames, values, self._init)
            if self._init.is_left_out():
                progress.note("warning", INIT_LEFT_OUT)
            return self._function(*arguments, **keywords)
