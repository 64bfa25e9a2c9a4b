"""Aggregates of published examples: inputs of the reference numbers in the tests of this folder."""

from __future__ import annotations

import numpy as np

from collectors.analytics.experiments.estimates import Estimate, mean
from collectors.analytics.experiments.moments import Moments


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def of_sums(n: float, total: float, squares: float) -> Estimate:
    return mean(Moments.of_sums(column(n), column(total)[:, None], column(squares)[:, None, None]))


BIG = of_sums(20000, 48213, 301455), of_sums(20400, 51177, 339012)
"""Two variants known by count, sum and sum of squares, as gbstats and spotify-confidence take them."""

# make_users_data(rng=42, covariates=True) of tea-tasting 1.14.0: 2,023 users under control, 1,977 under treatment, in
# orders, sessions, orders before, sessions before, revenue, revenue before: the mean and the sums of products of
# deviations from it (lower triangle).
_N = (2023.0, 1977.0)
_MEAN = (
    (0.5304003954522986, 1.9960454770143352, 0.5388037567968363, 1.9925852694018784, 5.241028175976273,
     5.278512110726645),
    (0.5730905412240769, 1.982802225594335, 0.5088517956499747, 1.9934243803743046, 5.73011127971675,
     4.720263024785027),
)  # fmt: skip
_PRODUCTS = (
    (
        (1503.8803756796924,),
        (506.2432031636126, 2037.968363816089),
        (1112.8635689569858, 539.3104300543813, 2132.7039050914605),
        (553.9560059317823, 1885.9406821552273, 1529.08205635193, 5746.888779041042),
        (14449.216767177539, 4788.068225407755, 11160.35928818572, 5654.66542263961, 188167.9014613884),
        (10271.436505190184, 4818.478096885879, 21269.881799307863, 15581.017681660682, 137444.24239480947,
         349114.82222145115),
    ),
    (
        (1471.6884167931075,),
        (483.4850784016231, 1925.4152756701658),
        (974.4709155285772, 412.30096105210174, 1868.0950935761869),
        (462.45017703591805, 1923.7764289327176, 1318.6150733434636, 5722.9145169448675),
        (14490.173920081215, 4568.253783510506, 9149.468052605236, 3806.991446636259, 213116.7243755194),
        (8713.691992918395, 4144.998942842723, 16381.695397066434, 11189.943419322126, 118543.5490421322,
         240627.55346323556),
    ),
)  # fmt: skip
ORDERS, SESSIONS, ORDERS_BEFORE, SESSIONS_BEFORE, REVENUE, REVENUE_BEFORE = range(6)


def _users(side: int) -> Moments:
    comoment = np.zeros((1, 6, 6))
    for i, row in enumerate(_PRODUCTS[side]):
        comoment[0, i, : i + 1] = comoment[0, : i + 1, i] = row
    mean_of = np.array([_MEAN[side]])
    return Moments(column(_N[side]), mean_of, np.zeros_like(mean_of), comoment)


USERS = _users(0), _users(1)
