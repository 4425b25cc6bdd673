"""The card: one way of running a detector. Options of [[modules]] belong to the modules and are checked by `plugins`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fastsim import toml
from fastsim.generate.beam_spot import BeamSpot
from fastsim.generate.pile_up import PileUp
from fastsim.luts.file import Efficiency, Grid
from fastsim.species import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

Rule = Literal["clamp", "not_reconstructed", "error"]
Format = Literal["ao2d", "delphes", "nano", "parquet", "rntuple"]
Truth = Literal["standard", "reconstructed", "all", "none"]


class Overflow(toml.Strict):
    """What happens to particles outside the table's axes; always counted in the summary."""

    pt: Annotated[Rule, Field(description="below or above the table's pt")]
    eta: Annotated[Rule, Field(description="beyond the table's |eta|")]
    dnch_deta: Annotated[Rule, Field(description="events above the table's dN_ch/deta; below it the first bin holds")]


class Tracking(toml.Strict):
    """How particles become tracks."""

    level: Annotated[Literal["parametric"], Field(description='"parametric": from lookup tables')]
    luts: Annotated[
        str, Field(description='"auto": found by their hash, else built; or a folder (relative to the card) with them')
    ]
    species: Annotated[
        list[Literal[NAMES]],  # type: ignore[valid-type]
        Field(min_length=1, description="species that become tracks; only their tables are loaded"),
    ]
    undefined_species: Annotated[
        Literal["skip", "error"], Field(description="charged final particles of other species, and unknown PDG codes")
    ]
    interpolation: Annotated[
        Literal["linear", "nearest"], Field(description='between the table\'s bins; "nearest" bin as DelphesO2')
    ] = "linear"
    efficiency: Annotated[
        Efficiency,
        Field(description="found with every hit right, or with no two wrong hits in a row (DelphesO2: eff, eff2)"),
    ] = "every_hit_right"
    decay_in_flight: Annotated[
        bool,
        Field(
            description="lose pi, K and mu that decay before the end of the tracker; not if the generator decays them"
        ),
    ] = False
    max_dca_z: Annotated[
        float,
        Field(
            gt=0,
            description="tracks that pass the beam line farther than this from the origin [cm] are none: tables start there",
        ),
    ] = 50.0
    overflow: Annotated[Overflow, Field(description="particles outside the table's axes")]
    dnch_deta_eta_max: Annotated[
        float,
        Field(gt=0, le=10, description="dN_ch/deta is measured in |eta| below this, of charged physical primaries"),
    ]
    grid: Annotated[Grid, Field(description="axes of the lookup tables")] = Grid()


class TableVersions(toml.Strict):
    """Versions of tables of ALICE's data model, for readers that are older than the current ones."""

    bc: Annotated[int, Field(ge=0, le=1, description="O2bc")] = 1
    collision: Annotated[int, Field(ge=0, le=1, description="O2collision")] = 1
    mccollision: Annotated[int, Field(ge=0, le=1, description="O2mccollision")] = 1
    mcparticle: Annotated[
        int, Field(ge=0, le=1, description="O2mcparticle: 0 has first and last mother and daughter")
    ] = 1
    trackextra: Annotated[int, Field(ge=0, le=2, description="O2trackextra")] = 2


class Ao2d(toml.Strict):
    """What is particular to AO2D files."""

    versions: Annotated[TableVersions, Field(description="versions of the tables")] = TableVersions()
    tracks: Annotated[
        Literal["track", "track_iu"],
        Field(
            description='name of their table: "track" (at closest approach) or, for tasks that propagate, "track_iu"'
        ),
    ] = "track"
    truncate: Annotated[
        bool,
        Field(description="keep as many bits of each number as the official producer: files become a quarter smaller"),
    ] = True
    empty_tables: Annotated[
        bool, Field(description="also write the tables of detectors that are not simulated, empty")
    ] = True


class Output(toml.Strict):
    """What is written, and how."""

    format: Annotated[Format, Field(description="format of the output file")]
    truth: Annotated[
        Truth,
        Field(
            description='generated particles: "standard" (final state, decay chains, heavy flavour, resonances, the hard '
            'process; no parton shower), "reconstructed" (of these, the reconstructed ones and their ancestors), "all", "none"'
        ),
    ] = "standard"
    events_per_frame: Annotated[int, Field(ge=1, le=10_000_000, description="ao2d: events in one DF_<n> directory")]
    ao2d: Annotated[Ao2d, Field(description="what is particular to AO2D files")] = Ao2d()
    compression_level: Annotated[int, Field(ge=0, le=9, description="zstd level, 0 for none")]
    delphes_names: Annotated[
        Literal["dotted", "path"],
        Field(
            description='delphes: branches are called "Track.PT", or "Track/Track.PT" as coffea\'s DelphesSchema asks'
        ),
    ] = "dotted"


class Card(toml.Strict):
    """One way of running a detector."""

    schema_version: Annotated[Literal[1], Field(description="version of this schema")]
    detector: Annotated[str, Field(description="detector file (relative to the card), or the name of a shipped one")]
    seed: Annotated[int, Field(ge=0, lt=2**64, description="seed of the run; 0 is an ordinary seed")]
    tracking: Annotated[Tracking, Field(description="how particles become tracks")]
    modules: Annotated[list[dict[str, Any]], Field(description="further modules, in any order; see `fastsim plugins`")]
    output: Annotated[Output, Field(description="what is written")]
    beam_spot: Annotated[
        BeamSpot | None, Field(description="where collisions are; else where the generator has them")
    ] = None
    pile_up: Annotated[PileUp | None, Field(description="other collisions laid over each event")] = None
    extends: Annotated[
        str | None, Field(description="a parent card (relative to this one); tables merge, arrays replace")
    ] = None

    @classmethod
    def faults(cls, data: dict[str, Any]) -> Iterator[tuple[toml.Path, str]]:
        """Faults between fields; `data` is the raw card."""
        tracking = data.get("tracking")
        species = tracking.get("species") if isinstance(tracking, dict) else None
        if isinstance(species, list) and len({str(name) for name in species}) < len(species):
            yield ("tracking", "species"), f"lists a species twice: {', '.join(map(str, species))}"
        grid = tracking.get("grid") if isinstance(tracking, dict) else None
        if isinstance(grid, dict):
            for path, message in Grid.faults(grid):
                yield ("tracking", "grid", *path), message
        modules = data.get("modules")
        seen: dict[object, int] = {"tracking": -1}
        for i, options in enumerate(modules if isinstance(modules, list) else []):
            if not isinstance(options, dict):
                continue
            for key in ("name", "kind"):
                if not isinstance(options.get(key), str):
                    yield ("modules", i), f"needs a {key} (a string)"
            name = options.get("name")
            if isinstance(name, str) and seen.setdefault(name, i) != i:
                yield ("modules", i, "name"), f"{name!r} is taken: names select random streams and must differ"
