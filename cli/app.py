"""The `fumehood` command: what it takes, and which exit code an error means. Work is imported when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from cli import job_commands, terminal
from cli.admin_commands import admin_app
from cli.batch_commands import batch_app
from cli.doctor_command import doctor
from cli.errors import ExitCode
from cli.event_commands import events
from cli.image_commands import images_app
from cli.quota_commands import quota
from cli.receipt_commands import receipt_app
from cli.script_commands import publish, score, scripts_app
from cli.service_commands import config_app, datasets_app
from cli.usage_commands import usage
from cli.webhook_commands import webhook_app
from fumehood import __version__
from fumehood.errors import FumehoodError

COMMANDS = (
    job_commands.run,
    job_commands.check,
    job_commands.debug,
    job_commands.submit,
    job_commands.status,
    job_commands.log,
    job_commands.result,
    job_commands.figures,
    job_commands.artifacts,
    job_commands.cancel,
    job_commands.ps,
)


class Counter(TyperGroup):
    """Turns every error into one clear line (or a few) on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        terminal.prepare()
        args = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            code = super().main(args, "fumehood", complete_var, False, windows_expand_args, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whatever is still buffered has nowhere to go; Python must not complain about it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.BROKEN_PIPE
        except (KeyboardInterrupt, typer.Abort):
            code = ExitCode.INTERRUPTED
        except TyperException as error:
            terminal.complain(f"{error.format_message()} (`fumehood --help` and `fumehood COMMAND --help` say what there is)")
            code = ExitCode.BAD_INPUT
        except FumehoodError as error:
            from cli.explain import explain

            code = explain(error)
        except ModuleNotFoundError as error:
            # Where only the client and the command were installed.
            terminal.complain(f"this needs {error.name}, which is not installed; install it with: pip install 'fumehood[service]'")
            code = ExitCode.BAD_INPUT
        except OSError as error:
            terminal.complain(f"{error.filename or 'this machine'}: {error.strerror or error}")
            code = ExitCode.BAD_INPUT
        sys.exit(int(code or 0))


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"fumehood {__version__}")
        raise typer.Exit()


app = typer.Typer(
    cls=Counter,
    name="fumehood",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_say_version)] = False,
) -> None:
    """Runs Python scripts in throwaway containers: of a Fumehood service, or with --local of this machine."""


for command in COMMANDS:
    app.command()(command)
app.add_typer(batch_app, name="batch")
app.command()(publish)
app.command()(score)
app.add_typer(scripts_app, name="scripts")
app.add_typer(datasets_app, name="datasets")
app.add_typer(receipt_app, name="receipt")
app.add_typer(webhook_app, name="webhook")
app.add_typer(images_app, name="images")
app.add_typer(config_app, name="config")
app.command()(events)
app.command()(usage)
app.command()(quota)
app.add_typer(admin_app, name="admin")
app.command()(doctor)


def main() -> None:
    app()
