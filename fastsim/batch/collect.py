"""The shards of a batch into one file: the file that the run makes unsplit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastsim.batch.runner import read_result
from fastsim.batch.state import survey, to_do
from fastsim.errors import InputError
from fastsim.merge import merge

if TYPE_CHECKING:
    from pathlib import Path

    from fastsim.batch.manifest import Batch
    from fastsim.merge import Merged
    from fastsim.summary import Progress


def merge_batch(
    batch: Batch,
    out: Path,
    *,
    shards: tuple[int, int] | None = None,
    allow_gaps: bool = False,
    overwrite: bool = False,
    compression_level: int | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Merge the shards (first, end) of a batch, by default all.

    Each file must have the bytes that it had when it was made, and the way and the events that were planned. Raises
    InputError that says what is missing or wrong, and then leaves nothing under `out`.
    """
    first, end = shards or (0, batch.n_shards)
    batch.check_index(first), batch.check_index(end - 1)
    states = survey(batch, range(first, end), has_to_match=True)
    left = [state for state in states if state.kind != "done"]
    broken = [state for state in left if state.kind == "broken"]
    if broken or (left and not allow_gaps) or len(left) == len(states):
        worst = (broken or left)[0]
        what = f"{len(left)} of {len(states)} shards are not done; {batch.name(worst.shard)} is {worst.kind}"
        hint = "`fastsim batch resume` makes what is missing" + (
            "" if broken else ", --allow-gaps merges what is there"
        )
        if to_do([worst]) != [worst.shard]:
            hint = "`fastsim batch status` says more"
        raise InputError(f"{what}{': ' if worst.what else ''}{worst.what}", where=str(batch.out), hint=hint)
    done = [state.shard for state in states if state.kind == "done"]
    skipped = [e for index in done for e in read_result(batch.out / batch.name(index)).record["skipped_events"]]
    if len(skipped) > batch.manifest.options.max_bad_events:
        what = f"{len(skipped)} events could not be read, {batch.manifest.options.max_bad_events} may be skipped in all"
        raise InputError(
            f"{what}: {', '.join(map(str, skipped[:10]))}", where=str(batch.out), hint="plan again with more"
        )
    return merge(
        [batch.result(index) for index in done], out, allow_gaps=allow_gaps, overwrite=overwrite,
        compression_level=compression_level, progress=progress, way=batch.manifest.way,
    )  # fmt: skip
