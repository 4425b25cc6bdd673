"""How jobs are submitted: kept beside the manifest, so that `resume` does it in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from fastsim import toml
from fastsim.batch.manifest import write_whole
from fastsim.errors import InputError, UsageError

if TYPE_CHECKING:
    from fastsim.batch.manifest import Batch

Engine = Literal["local", "dask", "slurm", "htcondor"]
_FILE = "submit.json"


class Settings(toml.Strict):
    """Resources are those of one job; what an engine has no use for it does not look at."""

    engine: Engine
    workers: Annotated[int, Field(ge=1, description="local, dask: processes; jobs of a dask cluster")] = 1
    retries: Annotated[int, Field(ge=0, description="times that a shard is tried again after what is worth it")] = 3
    shards_per_job: Annotated[int, Field(ge=1, description="slurm, htcondor: shards that a job makes in turn")] = 1
    cpus: Annotated[int, Field(ge=1, description="processors of a job")] = 1
    memory: Annotated[str, Field(pattern=r"^\d+[MG]$", description="of a job, as 2G or 500M")] = "2G"
    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d\d){1,2}$", description="limit, as D-HH:MM:SS or HH:MM:SS")] = (
        "02:00:00"
    )
    most_at_once: Annotated[int | None, Field(ge=1, description="slurm, htcondor: jobs that run at the same time")] = (
        None
    )
    options: Annotated[
        list[str], Field(default_factory=list, description="lines for the head of the job, as --partition=short")
    ]
    setup: Annotated[str, Field(description="shell commands before fastsim, as source /path/to/venv/bin/activate")] = ""
    command: Annotated[str, Field(description="how fastsim is called on the nodes")] = ""
    scheduler: Annotated[str, Field(description="dask: address of a scheduler that runs already")] = ""
    cluster: Annotated[Literal["", "slurm", "htcondor"], Field(description="dask: jobs of this kind as workers")] = ""


def make_settings(**values: object) -> Settings:
    """Settings; raises UsageError."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{name} {first['input']}: {first['msg']}") from None


def save(batch: Batch, settings: Settings) -> None:
    """Keep the settings for `resume`."""
    batch.out.mkdir(parents=True, exist_ok=True)
    write_whole(batch.out / _FILE, settings.model_dump_json(indent=1))


def load(batch: Batch) -> Settings | None:
    """The settings of the last submission, None if there was none; raises InputError."""
    path = batch.out / _FILE
    try:
        return Settings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        hint = "submit again, with --engine"
        raise InputError(f"cannot be read ({what})", where=str(path), hint=hint) from None
