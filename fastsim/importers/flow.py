"""How a Delphes card's modules hang together: arrays called "Module/array", followed back to where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fastsim.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastsim.importers.tcl import Module, TclCard

# Keys that only say where something comes from and goes to.
_INPUT_KEYS = ("TrackInputArray", "CandidateInputArray", "JetInputArray", "InputArray")
_LONGEST = 200  # modules behind each other: a longer chain is a circle
_MOST_STEPS = 100_000


class Way(NamedTuple):
    """One way back from an array: the array that it begins with, and the modules on it, first to last."""

    origin: str
    modules: tuple[Module, ...]


def is_plumbing(key: str) -> bool:
    """Whether a setting names arrays and nothing else."""
    return key.endswith("Array") or key in {"Branch", "Info"}


class Flow:
    """The modules that run, by name and in their order."""

    def __init__(self, card: TclCard) -> None:
        path = card.settings.get("ExecutionPath")
        names = path.text.split() if path else list(card.modules)
        if path:
            path.is_used = True
        missing = [name for name in names if name not in card.modules]
        if not card.modules:
            raise CardError([f"{card.path}: has no modules: not a Delphes card"])
        if missing and path:
            raise CardError([f"{path.place}: ExecutionPath names {', '.join(missing)}, which the card does not define"])
        self._steps = 0
        self.modules: dict[str, Module] = {name: card.modules[name] for name in dict.fromkeys(names)}

    def of_kind(self, *kinds: str) -> list[Module]:
        """The modules of some kinds, in their order."""
        return [module for module in self.modules.values() if module.kind in kinds]

    def inputs(self, module: Module, array: str = "") -> list[str]:
        """The arrays that a module reads, or those that one of its output arrays is made of."""
        if module.kind == "UniqueObjectFinder":
            pairs = module.entries("InputArray", 2)
            return [str(source) for source, name in pairs if not array or name == array]
        for key in _INPUT_KEYS:
            if found := module.get(key):
                return [str(value) for value in found.values]
        return []

    def ways(self, array: str, *, stop: frozenset[str] = frozenset()) -> Iterator[Way]:
        """Every way back from an array to ParticlePropagator, to Delphes' own arrays, or to a module named in `stop`."""
        self._steps = 0
        yield from self._ways(array, (), stop)

    def _ways(self, array: str, behind: tuple[Module, ...], stop: frozenset[str]) -> Iterator[Way]:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise CardError([f"{array}: more than {_MOST_STEPS} ways lead there: modules read each other in circles"])
        name, _, output = array.partition("/")
        module = self.modules.get(name)
        if module is None or module.kind == "ParticlePropagator" or name in stop or len(behind) > _LONGEST:
            yield Way(array, behind)
            return
        sources = self.inputs(module, output)
        if not sources:
            yield Way(array, behind)
        for source in sources:
            yield from self._ways(source, (module, *behind), stop)

    def branches(self, kind: str) -> list[tuple[str, str]]:
        """(array, branch) of what TreeWriter writes of a class."""
        found: list[tuple[str, str]] = []
        for writer in self.of_kind("TreeWriter"):
            found += [(str(array), str(name)) for array, name, of in writer.entries("Branch", 3) if of == kind]
        return found

    def is_generator_level(self, array: str) -> bool:
        """Whether an array holds generated particles: none of its ways meets a module that measures."""
        return all(
            way.origin.startswith("Delphes/") and all(m.kind in GENERATOR_KINDS for m in way.modules)
            for way in self.ways(array)
        )


GENERATOR_KINDS = (
    "PdgCodeFilter", "StatusPidFilter", "Merger", "FastJetFinder", "PileUpMerger", "BeamSpotFilter", "Cloner", "DecayFilter",
    "TruthVertexFinder", "RecoPuFilter", "LLPFilter", "TaggingParticlesSkimmer", "UnstablePropagator", "EnergyScale",
    "ConstituentFilter", "JetFlavorAssociation",
)  # fmt: skip


def number_in(module: Module, words: list[str]) -> float:
    """The number of a list's only word; raises CardError if it is none."""
    try:
        return float(words[0])
    except (IndexError, ValueError):
        raise CardError([f"{module.place}: {module.name}: {' '.join(words)!r} is not a number"]) from None


def code_in(module: Module, word: Any) -> int:
    """A PDG code; raises CardError if it is none."""
    try:
        return int(bare(word))
    except ValueError:
        raise CardError([f"{module.place}: {module.name}: {bare(word)!r} is not a PDG code"]) from None


def bare(value: Any) -> str:
    """A word of a list as text."""
    return value.strip() if isinstance(value, str) else " ".join(map(str, value))
