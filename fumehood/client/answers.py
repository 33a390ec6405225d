"""Answers: what came back from the service, as its bytes, as a document, or as the problem that it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fumehood.client.errors import BY_STATUS, Broken, ServiceProblem
from fumehood.client.wire import Answer
from fumehood.client.words import Document


@dataclass(frozen=True, slots=True)
class Answered:
    headers: Mapping[str, str]
    data: bytearray


async def problem_of(answer: Answer, url: str, bytes_max: int) -> ServiceProblem:
    """What to raise for an answer that is no success. `url` is that of the service."""
    response = answer.response
    is_document = response.headers.get("content-type", "").startswith("application/")
    document = json_of(await read_bytes(answer, bytes_max)) if is_document else None
    retry_after = response.headers.get("retry-after", "")
    kind = BY_STATUS.get(response.status_code, Broken)
    fallback = {"detail": f"{url} answered {response.status_code} without saying why; is this the address of a Fumehood?"}
    return kind(response.status_code, document or fallback, retry_after_seconds=int(retry_after) if retry_after.isdecimal() else None)


async def read_bytes(answer: Answer, bytes_max: int) -> bytearray:
    """Raises Broken where there are more of them."""
    body = bytearray()
    async for chunk in answer.chunks:
        body += chunk
        if len(body) > bytes_max:
            raise Broken(answer.response.status_code, {"detail": f"the answer is longer than {bytes_max:,} bytes"})
    return body


def json_of(body: bytes | bytearray) -> Document | None:
    """None where it is no JSON object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
