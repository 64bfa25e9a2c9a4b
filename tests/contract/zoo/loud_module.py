"""A module that does more than define things when it is imported."""

from __future__ import annotations

import socket

from tests.contract.zoo.tame_sampler import TameSampler

with socket.socket() as _opened:
    pass


class Loud(TameSampler):
    """Report the levels of a few tanks."""

    name = "loud_module"
