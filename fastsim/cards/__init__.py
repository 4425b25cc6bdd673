"""How a detector is run: the card's schema and its loading."""

from fastsim.cards.load import LoadedCard, load_card
from fastsim.cards.schema import Card, Output, Overflow, Tracking

__all__ = ["Card", "LoadedCard", "Output", "Overflow", "Tracking", "load_card"]
