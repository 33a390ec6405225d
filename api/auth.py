"""Who is asking, and may it: a bearer key becomes a tenant, and every call of the store names it."""

from __future__ import annotations

from typing import Annotated, get_origin

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.desk import DeskDep
from api.places import place_of
from fumehood.audit import CALL
from fumehood.errors import BadField, BadRequest, Forbidden, Suspended, Unauthenticated
from fumehood.tenant import Caller, Scope, Tenant, TenantState, key_prefix

bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer <key>`; the key decides the tenant.")
CredentialsDep = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


# Read as anything else is, but whoever knows one can do more than look.
SECRETS = frozenset({"/v1/webhooks/secret"})


def scope_of(method: str, path: str) -> Scope:
    """What a key needs for an operation: decided by its method and the route's address, so that no route can be without one."""
    if path.startswith("/v1/admin") or path == "/metrics":
        return Scope.ADMIN
    if path in SECRETS:
        return Scope.SUBMIT
    return Scope.READ if method in ("GET", "HEAD") else Scope.SUBMIT


def require_allowed(caller: Caller, scope: Scope) -> None:
    """Raises Forbidden: the key lacks the scope. Suspended: its tenant is, or is being deleted."""
    scopes, state = caller.key.scopes, caller.tenant.state
    if scope not in scopes:
        raise Forbidden(f"the key has the scopes {', '.join(sorted(scopes)) or 'none'}; expected {scope}")
    if state is TenantState.DELETING or (state is TenantState.SUSPENDED and scope is not Scope.ADMIN):
        raise Suspended(f"the tenant is {'suspended' if state is TenantState.SUSPENDED else 'being deleted'}")


async def caller_of(request: Request, desk: DeskDep, credentials: CredentialsDep) -> Caller:
    """Raises Unauthenticated: no key, not a bearer key, or not one that is known and has not ended; they look alike. Unavailable where
    the tenant has as many requests at once as it may. QuotaExceeded: it has sent too many lately. Forbidden and Suspended as
    `require_allowed` does."""
    route, call = request.scope["route"], CALL.get()
    if call is not None:
        call.action = route.name
        call.target = next(reversed(request.path_params.values()), None)
        call.by_key = key_prefix(credentials.credentials) if credentials else None
    caller = await desk.ask(desk.store.caller_of_key, credentials.credentials) if credentials else None
    if caller is None:
        raise Unauthenticated("no known key; expected the header `Authorization: Bearer <key>`")
    tenant = caller.tenant
    structlog.contextvars.bind_contextvars(tenant=tenant.id)
    if call is not None:
        call.by_tenant = tenant.id
    place_of(request.scope).belongs_to(tenant.id)
    desk.rates.take(request.scope, tenant)
    require_allowed(caller, scope_of(request.method, route.path))
    desk.key_used(caller.key)
    return caller


async def tenant_of(caller: Annotated[Caller, Depends(caller_of)]) -> Tenant:
    return caller.tenant


async def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have, and repeated ones that are no list: a typing error must not be a
    silent default.

    Raises:
        BadRequest: names each of them.
    """
    parameters = request.scope["route"].dependant.query_params
    known = {parameter.alias for parameter in parameters}
    lists = {parameter.alias for parameter in parameters if get_origin(parameter.field_info.annotation) is list}
    given = [name for name, _ in request.query_params.multi_items()]
    expected = f"the parameters are {', '.join(sorted(known))}" if known else "there are none here"
    fields = [
        BadField(f"/query/{name}", f"there is no parameter {name[:80]!r}; {expected}") for name in dict.fromkeys(given) if name not in known
    ]
    fields += [BadField(f"/query/{name}", "stands more than once") for name in known - lists if given.count(name) > 1]
    if fields:
        raise BadRequest("a parameter of the request cannot be used", errors=tuple(fields))


TenantDep = Annotated[Tenant, Depends(tenant_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]
