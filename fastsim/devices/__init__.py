"""Modules that identify particles or measure energy, one file a kind of device: what a track or a photon leaves there."""
