"""Checks that a collector of the catalogue is known to fail, and why; a closed gap fails until its line is gone."""

from __future__ import annotations

from collectors.testing import Gap, GapKind, Gaps

KNOWN_GAPS: Gaps = {
    "nop": {
        "brings_an_example_with_input": Gap(GapKind.NEVER, "It reads nothing, so there is nothing to bring."),
    },
    "system_performance": {
        "shows_every_metric_it_declares": Gap(
            GapKind.NEVER,
            "The busiest commands need processes that work between two readings; recorded files stand still.",
        ),
    },
}
