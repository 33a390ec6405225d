"""Who is asking: a bearer key becomes a tenant, and every call of the store names it."""

from __future__ import annotations

from typing import Annotated, get_origin

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.desk import DeskDep
from api.places import place_of
from fumehood.errors import BadField, BadRequest, Unauthenticated
from fumehood.tenant import Tenant

bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer <key>`; the key decides the tenant.")


async def tenant_of(
    request: Request, desk: DeskDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Tenant:
    """Raises Unauthenticated: no key, not a bearer key, or not one that is known; the three look alike. And Unavailable where the
    tenant has as many requests at once as it may."""
    tenant = await desk.ask(desk.store.tenant_of_key, credentials.credentials) if credentials else None
    if tenant is None:
        raise Unauthenticated("no known key; expected the header `Authorization: Bearer <key>`")
    structlog.contextvars.bind_contextvars(tenant=tenant.id)
    place_of(request.scope).belongs_to(tenant.id)
    return tenant


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
