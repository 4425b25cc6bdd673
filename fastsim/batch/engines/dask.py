"""Dask: workers of this machine, of a scheduler that runs already, or jobs of a batch system (dask-jobqueue)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastsim.batch.engines.tasks import Answer, is_worth_a_retry, task_of
from fastsim.batch.state import clear_dead
from fastsim.errors import FastsimError, UsageError

if TYPE_CHECKING:
    from fastsim.batch.engines.tasks import Told
    from fastsim.batch.manifest import Batch
    from fastsim.batch.settings import Settings

_INSTALL = "pip install 'fastsim[batch]'"


def run(batch: Batch, indices: list[int], settings: Settings, told: Told) -> list[Answer]:
    """Make shards; returns what became of each. Raises UsageError without Dask or a scheduler."""
    try:
        import distributed  # noqa: PLC0415  (optional)
    except ImportError:
        raise UsageError("the engine dask needs Dask", hint=_INSTALL) from None
    with _cluster(batch, settings) as cluster:
        try:
            client = distributed.Client(cluster, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"--scheduler {settings.scheduler}: cannot be reached ({error})") from None
        with client:
            told.started(len(indices), settings.workers)
            answers = _collect(client, batch, indices, settings, told)
    clear_dead(batch)
    return answers


def _collect(client: Any, batch: Batch, indices: list[int], settings: Settings, told: Told) -> list[Answer]:
    """Submit all, look for answers each second, and submit again what is worth it."""
    task, prefix = task_of(batch, every=5.0), f"fastsim-{batch.manifest.sha256[:8]}-{time.time_ns()}"

    def submit(index: int, n_tries: int) -> Any:
        return client.submit(task, index, key=f"{prefix}-{batch.name(index)}-{n_tries}", pure=False)

    active = {submit(index, 1): (index, 1) for index in indices}
    answers = []
    while active:
        time.sleep(0.2)
        for future in [future for future in active if future.done()]:
            index, n_tries = active.pop(future)
            answer = _answer(future, index)
            if is_worth_a_retry(answer, n_tries, settings.retries):
                told.again(answer, n_tries)
                active[submit(index, n_tries + 1)] = index, n_tries + 1
            else:
                answers.append(answer)
                told.finished(answer)
        told.passing()
    return answers


def _answer(future: Any, index: int) -> Answer:
    """What became of a task; Dask itself gives up tasks whose workers died several times."""
    if future.status == "finished":
        return Answer(*future.result())
    error = future.exception() if future.status == "error" else f"Dask says {future.status}"
    return Answer(index, error=f"{type(error).__name__}: {error}", exit_code=75)


def _cluster(batch: Batch, settings: Settings) -> Any:
    """A context manager that gives what a Client connects to."""
    if settings.scheduler:
        from contextlib import nullcontext  # noqa: PLC0415

        return nullcontext(settings.scheduler)
    if not settings.cluster:
        import distributed  # noqa: PLC0415

        return distributed.LocalCluster(
            n_workers=settings.workers, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        )
    try:
        import dask_jobqueue  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"--cluster {settings.cluster} needs dask-jobqueue", hint=_INSTALL) from None
    kind = getattr(dask_jobqueue, {"slurm": "SLURMCluster", "htcondor": "HTCondorCluster"}[settings.cluster])
    logs = str(batch.out / "logs")
    own: dict[str, Any] = {"walltime": settings.time} if settings.cluster == "slurm" else {"disk": "2GB"}
    try:
        cluster = kind(
            cores=1, processes=1, memory=f"{settings.memory}iB", log_directory=logs, local_directory=logs,
            job_extra_directives=settings.options, job_script_prologue=settings.setup.splitlines(),
            scheduler_options={"dashboard_address": "127.0.0.1:0"}, **own,
        )  # fmt: skip
    except (ValueError, OSError, RuntimeError) as error:
        raise FastsimError(f"dask-jobqueue: {error}") from error
    # `scale` does not replace workers that are lost; `adapt` does, after `distributed.deploy.lost-worker-timeout`.
    cluster.adapt(minimum_jobs=settings.workers, maximum_jobs=settings.workers)
    return cluster
