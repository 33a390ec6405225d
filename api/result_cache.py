"""The result cache at the desk: what a new job is known by, and an earlier result under the new job's name."""

from __future__ import annotations

from dataclasses import replace

from api.desk import Desk
from api.health import seen_seconds
from fumehood.cache import cache_key, origin_of
from fumehood.errors import NotFound, StoreUnavailable
from fumehood.job import Input, Job


def look_up(desk: Desk, job: Job, digests: dict[str, str]) -> tuple[Job, Job | None]:
    """`job` with what it is known by, and the earlier job whose result it may have. Without either where nobody can say what it would run
    in, or an input is gone. `digests`: SHA-256 (hex) of what came along or is a version's, by port. Blocks on the store."""
    image = _image_of_all(desk)
    if image is None:
        return job, None
    try:
        key = _key_of(desk, job, digests, image)
    except NotFound:
        return job, None  # storing the job finds this, too, and says it
    return replace(job, cache_key=key), desk.store.find_cached(job.tenant, key, image=image)


def take_over(desk: Desk, job: Job, earlier: Job) -> bool:
    """Give the outputs of `earlier` a second name each, as outputs of `job`: nothing is copied, and neither of the two misses the other
    when it is deleted. False, and nothing is left, where one of them is gone or cannot have another name: then the job runs."""
    assert earlier.outcome is not None
    try:
        for name in earlier.outcome.outputs:
            desk.blobs.link(job.tenant, earlier.output_blob(name), job.output_blob(name))
    except (NotFound, StoreUnavailable):  # a file may have only so many names
        desk.blobs.delete(job.tenant, f"{job.blob_prefix}/{job.fence}")
        return False
    return True


def _image_of_all(desk: Desk) -> str | None:
    """The image that every ready worker runs; None where there are several, or none."""
    seen = desk.store.workers(seen_within_seconds=seen_seconds(desk))
    images = {facts.get("image") for facts in seen if facts.get("ready") is True}
    image = images.pop() if len(images) == 1 else None
    return image if isinstance(image, str) else None


def _key_of(desk: Desk, job: Job, digests: dict[str, str], image: str) -> str:
    """Raises NotFound where an input was deleted meanwhile."""
    inputs = {port: ["bytes", sha256, job.inputs[port].format] for port, sha256 in digests.items()}
    inputs |= {port: _known_by(desk, job.tenant, given) for port, given in job.inputs.items() if port not in inputs}
    if version := job.inputs["script"].version:  # The same script and bytes are another run where other columns are expected.
        inputs["script"] = [*inputs["script"], "of", version]
    return cache_key(tenant=job.tenant, image=image, inputs=inputs, parameters=job.parameters, limits=job.limits)


def _known_by(desk: Desk, tenant: str, given: Input) -> list[str]:
    if given.source is not None:
        # Of a result that was taken over itself, the job that ran: so a chain of cached jobs is found as a whole.
        return ["output", origin_of(desk.store.get_job(tenant, given.source["job"])), given.source["output"]]
    assert given.dataset is not None
    dataset = desk.store.get_dataset(tenant, given.dataset)
    return ["dataset", dataset.sha256, dataset.format]
