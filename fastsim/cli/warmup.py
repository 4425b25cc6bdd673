"""`fastsim warmup`: compile and build everything now, so that a thousand jobs need not."""

from __future__ import annotations

from typing import Annotated

import typer

from fastsim.cli.console import Bars, out

GUN = """schema_version = 1
kind = "gun"
n_events = 1
[[particles]]
pdg = [211]
n = 1
pt = { values = [1] }
eta = { values = [0] }
"""


def warmup(
    card: Annotated[str, typer.Option("--card", "-c", help="Card file, or the name of a shipped one.")] = "alice3",
) -> None:
    """Compile the kernels and build the tables of a card into the caches: once per node type, before many jobs."""
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from time import perf_counter

    from fastsim.cards import load_card
    from fastsim.jit import kernel_cache
    from fastsim.run import check_card, find_luts, load_kernels, make_pipeline, simulate_files

    loaded = load_card(card)
    check_card(loaded)
    begin = perf_counter()
    with Bars() as progress:
        luts = find_luts(loaded, progress)
        progress.kernels(ready=False)
        load_kernels(make_pipeline(loaded, luts), truth=loaded.card.output.truth)
        with TemporaryDirectory() as folder:  # what writes is compiled when it first writes
            gun = Path(folder) / "gun.toml"
            gun.write_text(GUN)
            simulate_files([gun], loaded, Path(folder) / "out")
        progress.kernels(ready=True)
    out.print(f"ready after {perf_counter() - begin:.1f} s", highlight=False, markup=False)
    out.print(f"kernels: {kernel_cache()}", highlight=False, markup=False)
    for source in luts.sources:
        out.print(f"table:   {source}", highlight=False, markup=False)
