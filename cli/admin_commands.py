"""Commands of the operator: tenants, their keys, and who did what. They need a key with the scope `admin`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput
from cli.job_commands import AsJson, connect, print_json

admin_app = typer.Typer(
    help="Tenants, keys and the audit log; needs a key with the scope admin.", rich_markup_mode=None, no_args_is_help=True
)
tenant_app = typer.Typer(help="Who shares the service.", rich_markup_mode=None, no_args_is_help=True)
key_app = typer.Typer(help="Keys of tenants.", rich_markup_mode=None, no_args_is_help=True)
admin_app.add_typer(tenant_app, name="tenant")
admin_app.add_typer(key_app, name="key")

TENANTS = "/v1/admin/tenants"
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Its name or id.")]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="The public part of the key, as `key list` shows it.")]
Values = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="JSON value; null for the operator's own. May be repeated.")]


@tenant_app.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a-z, 0-9, `.`, `_` and `-`.")],
    weight: Annotated[float, typer.Option(help="Its share of the slots, against other tenants'.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Make a tenant and print its id. It has no key yet."""
    _print(_call("POST", TENANTS, {"name": name, "weight": weight}), as_json, "id")


@tenant_app.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants by name."""
    with connect() as client:
        found = list(client.listing(TENANTS))
    if as_json:
        return print_json(found)
    terminal.columns(("TENANT", "NAME", "STATE", "WEIGHT"), [(one["id"], one["name"], one["state"], f"{one['weight']:g}") for one in found])


@tenant_app.command("show")
def show_tenant(tenant: Tenant) -> None:
    """Print a tenant's record, with the quota and the lifetimes that hold for it."""
    print_json(_call("GET", _address(tenant)))


@tenant_app.command("suspend")
def suspend_tenant(tenant: Tenant) -> None:
    """Refuse its keys and let its queued jobs wait."""
    terminal.say(f"{tenant} is {_call('POST', _address(tenant, 'suspend'))['state']}")


@tenant_app.command("resume")
def resume_tenant(tenant: Tenant) -> None:
    """Let a suspended tenant go on."""
    terminal.say(f"{tenant} is {_call('POST', _address(tenant, 'resume'))['state']}")


@tenant_app.command("delete")
def delete_tenant(
    tenant: Tenant,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a tenant and everything it has, and print its id, by which `tenant receipt` finds the receipt."""
    record = _call("GET", _address(tenant))
    if not yes:
        typer.confirm(f"Erase tenant {terminal.one_line(record['name'])} and everything it has?", abort=True, err=True)
    _print(_call("DELETE", _address(record["id"])), False, "id")


@tenant_app.command("receipt")
def show_receipt(tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The id that it had.")]) -> None:
    """Print the receipt of a tenant that was deleted, once nothing of it is left."""
    print_json(_call("GET", _address(tenant, "receipt")))


@tenant_app.command("quota")
def change_quota(
    tenant: Tenant,
    values: Values = [],  # noqa: B006
    retention: Annotated[list[str], typer.Option(metavar="NAME=DAYS", help="How long things are kept. May be repeated.")] = [],  # noqa: B006
    weight: Annotated[float | None, typer.Option(help="Its share of the slots.")] = None,
) -> None:
    """Change what a tenant may have, and print what holds then: `--set running_jobs=8 --set ceiling.wall_seconds=600`."""
    change = {"quota": _document(values), "retention": _document(retention), "weight": weight}
    given = {name: value for name, value in change.items() if value not in (None, {})}
    print_json(_call("PATCH", _address(tenant), given) if given else _call("GET", _address(tenant)))


@key_app.command("create")
def create_key(
    tenant: Tenant,
    name: Annotated[str, typer.Option(help="For people.")] = "",
    scope: Annotated[list[str], typer.Option(help="submit, read or admin. May be repeated.")] = ["submit", "read"],  # noqa: B006
    days: Annotated[float | None, typer.Option(help="How long it is good; else until it is revoked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once."""
    document = {"name": name, "scopes": scope} | ({"lifetime_days": days} if days is not None else {})
    _print(_call("POST", _address(tenant, "keys"), document), as_json, "key")


@key_app.command("list")
def list_keys(tenant: Tenant, as_json: AsJson = False) -> None:
    """List all keys that a tenant ever had, the newest first."""
    from cli import report

    found = _call("GET", _address(tenant, "keys"))["items"]
    if as_json:
        return print_json(found)
    rows = [
        (
            one["prefix"],
            one["name"],
            ",".join(one["scopes"]),
            "yes" if one["live"] else "no",
            *(report.when(one[at]) if one[at] else "" for at in ("expires_at", "used_at")),
        )
        for one in found
    ]
    terminal.columns(("PREFIX", "NAME", "SCOPES", "LIVE", "EXPIRES", "USED"), rows)


@key_app.command("revoke")
def revoke_key(tenant: Tenant, prefix: Prefix) -> None:
    """End a key at once."""
    _call("DELETE", _address(tenant, "keys", prefix))
    terminal.say(f"{prefix} is revoked")


@key_app.command("rotate")
def rotate_key(
    tenant: Tenant,
    prefix: Prefix,
    overlap_hours: Annotated[float, typer.Option(help="How long the old key still works.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a key in place of another one and print it; both work for a while."""
    _print(_call("POST", _address(tenant, "keys", prefix, "rotate"), {"overlap_seconds": overlap_hours * 3600}), as_json, "key")


@admin_app.command("audit")
def read_audit(
    tenant: Annotated[str | None, typer.Option(help="Only on things of this tenant (its id).")] = None,
    most: Annotated[int, typer.Option(min=1, help="Entries at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what, the newest first."""
    from itertools import islice

    from cli import report

    with connect() as client:
        found = list(islice(client.listing("/v1/admin/audit", tenant=tenant), most))
    if as_json:
        return print_json(found)
    names = ("by_tenant", "by_key", "address", "action", "target", "result")
    rows = [(report.when(one["at"]), *(one[name] or "" for name in names)) for one in found]
    terminal.columns(("WHEN", "BY", "KEY", "FROM", "ACTION", "TARGET", "RESULT"), rows)


def _address(*steps: str) -> str:
    from fumehood.client.words import quoted

    return "/".join([TENANTS, *map(quoted, steps)])


def _call(method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    with connect() as client:
        return client.send(method, path, document)


def _print(record: dict[str, Any], as_json: bool, name: str) -> None:
    print_json(record) if as_json else print(terminal.one_line(record[name]))


def _document(values: list[str]) -> dict[str, Any]:
    """`a=1`, `b.c=2` as one document."""
    document: dict[str, Any] = {}
    for given in values:
        name, sign, text = given.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            sign = ""
        if not sign:
            raise BadInput(f"{given!r} is no NAME=VALUE; expected one such as running_jobs=8")
        outer, _, inner = name.partition(".")
        if inner:
            document.setdefault(outer, {})[inner] = value
        else:
            document[outer] = value
    return document
