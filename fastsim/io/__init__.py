"""Doors: the only rooms that know file formats, names and units other than ours."""
