"""The command `fumehood doctor`: looks whether everything works, how strong the walls are, and with `--attack` tries to break them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput, ExitCode
from cli.job_commands import connect, print_json

if TYPE_CHECKING:
    from cli.attack import Result
    from cli.attack_report import Report
    from cli.corpus import Attack
    from fumehood.client.surface import Surface


def doctor(
    host: Annotated[bool, typer.Option("--host", help="Look at this machine too: engine, mounts, disk, walls and their grade.")] = False,
    home: Annotated[Path | None, typer.Option(metavar="DIR", readable=False, help="The service's home, with --host or --attack.")] = None,
    attack: Annotated[bool, typer.Option("--attack", help="Run the hostile corpus against the service, with your key.")] = False,
    promise: Annotated[list[int] | None, typer.Option(metavar="N", help="Attack this promise only; may be repeated.")] = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="So many attacks run at the same time.")] = 2,
    list_attacks: Annotated[bool, typer.Option("--list", help="Say what --attack would run, and run nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON document on stdout.")] = False,
) -> None:
    """Look whether everything works, and say what to do where it does not.

    The exit code is 1 where something is wrong: a part of the service, a wall that every host should have (grades D and F), or a
    promise that an attack broke.
    """
    if attack or list_attacks:
        if host:
            raise BadInput("--host and --attack are two looks; run one after the other")
        chosen = _chosen(promise)
        if list_attacks:
            return _list(chosen, as_json=as_json)
        raise typer.Exit(_attack(chosen, home, at_once=at_once, as_json=as_json))
    if promise:
        raise BadInput("--promise says what --attack tries; give both")
    raise typer.Exit(_look(home, host=host, as_json=as_json))


def _look(home: Path | None, *, host: bool, as_json: bool) -> ExitCode:
    from itertools import chain

    from cli import doctor as surgery
    from cli import walls_view

    findings: list[surgery.Finding] = []
    machine: list[surgery.Host] = []
    for finding in chain(surgery.service(), surgery.host(home, machine.append) if host else ()):
        findings.append(finding)
        if not as_json:
            mark = " " if finding.good is None else terminal.symbol(finding.good)
            advice = f"\n      {finding.advice}" if finding.good is False and finding.advice else ""
            print(f"{mark} {finding.what:<13} {terminal.harmless(finding.detail)}{advice}", flush=True)
    walls = surgery.walls(machine[0]) if machine else None
    well = all(finding.good is not False for finding in findings) and not (walls and walls["grade"] in walls_view.GRADED_TOO_LOW)
    if as_json:
        told = [{"what": one.what, "good": one.good, "detail": one.detail, "advice": one.advice} for one in findings]
        print_json({"well": well, "findings": told, "host": walls})
    elif walls:
        walls_view.show(walls)
    return ExitCode.OK if well else ExitCode.FAILED


def _chosen(promises: list[int] | None) -> list[Attack]:
    from cli.corpus import PROMISES, attacks

    if wrong := set(promises or ()) - PROMISES.keys():
        raise BadInput(f"there is no promise {min(wrong)}; they are 1 to {len(PROMISES)}")
    return sorted((one for one in attacks().values() if one.promise in (promises or PROMISES)), key=lambda one: (one.promise, one.name))


def _list(chosen: list[Attack], *, as_json: bool) -> None:
    from cli import attack_report

    if as_json:
        return print_json([{"name": one.name, "promise": one.promise, "reason": one.reason.value, "tries": one.what} for one in chosen])
    attack_report.show_list(chosen)


def _attack(chosen: list[Attack], home: Path | None, *, at_once: int, as_json: bool) -> ExitCode:
    from cli import attack_report

    report = _attacked(chosen, home, at_once=at_once)
    if as_json:
        print_json(report.as_dict())
    else:
        attack_report.show(report)
    return ExitCode.OK if report.well else ExitCode.FAILED


def _attacked(chosen: list[Attack], home: Path | None, *, at_once: int) -> Report:
    from cli.attack import Afar, Result, Siege, Verdict, harmless, signing_keys
    from cli.attack_report import Report

    began = time.monotonic()
    with connect() as client:
        version = str(client.health().get("version"))
        terminal.say(f"{len(chosen)} attacks on {client.url}, {at_once} at a time, as jobs of yours")
        first, keys = harmless("harmless-before"), signing_keys(client)
        from_afar = Siege(client, Afar(), at_once=1, keys=keys)
        before = from_afar.one(first, keep=True)
        if before.verdict is Verdict.HELD:
            try:
                results, rest = _tried(client, chosen, home, str(before.job), first.script, at_once=at_once, keys=keys)
            finally:
                from_afar.forget(str(before.job))
        else:
            why = "the harmless job before it was not served"
            results, rest = [Result(attack=one, why_not=why) for one in chosen], {"not_looked": why}
        rest |= {"seconds": time.monotonic() - began, "signed": bool(keys)}
        return Report(url=client.url, version=version, results=results, before=before, **rest)


def _tried(
    client: Surface, chosen: list[Attack], home: Path | None, job: str, script: str, *, at_once: int, keys: list[str]
) -> tuple[list[Result], dict[str, Any]]:
    """What came of each attack, in their order, and what else there is to report. `job` is one of `script`, and is there."""
    from cli import attack_ground, attack_report
    from cli.attack import Siege, harmless

    with attack_ground.ground(home, job, script) as (ground, not_looked):
        siege, results = Siege(client, ground, at_once=at_once, keys=keys), {}
        with attack_report.progress(len(chosen)) as progress:
            for result in siege.run(chosen, progress.started):
                progress.ended(result)
                results[result.attack.name] = result
        rest = {
            "after": siege.one(harmless("harmless-after")),
            "not_looked": not_looked,
            "canary_whole": ground.canary_is_whole(),
            "walls": ground.walls(),
        }
    return [results[one.name] for one in chosen], rest
