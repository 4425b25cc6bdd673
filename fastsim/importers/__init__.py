"""Cards from other programs: Delphes' as a card and a detector file, with a list of what was carried over and what not."""

from fastsim.importers.delphes import ImportedCard, import_card

__all__ = ["ImportedCard", "import_card"]
