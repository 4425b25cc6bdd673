"""The energy loss that layers of the tracker measure, as the detector file describes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fastsim import toml


class Dedx(toml.Strict):
    """Layers or drift volumes of the tracker that measure energy loss."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="names the columns of the device")]
