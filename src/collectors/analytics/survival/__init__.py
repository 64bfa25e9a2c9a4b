"""Time until an event: estimates, tests and models of right-censored lifetimes with delayed entry."""

from collectors.analytics.survival.concordance import Concordance, concordance
from collectors.analytics.survival.cox import ChiSquare, CoxModel, cox
from collectors.analytics.survival.kaplan_meier import Estimate, KaplanMeier, kaplan_meier
from collectors.analytics.survival.life_table import LifeTable, life_table
from collectors.analytics.survival.log_rank import LogRank, log_rank
from collectors.analytics.survival.nelson_aalen import NelsonAalen, nelson_aalen
from collectors.analytics.survival.proportionality import Proportionality, proportionality

__all__ = [
    "ChiSquare",
    "Concordance",
    "CoxModel",
    "Estimate",
    "KaplanMeier",
    "LifeTable",
    "LogRank",
    "NelsonAalen",
    "Proportionality",
    "concordance",
    "cox",
    "kaplan_meier",
    "life_table",
    "log_rank",
    "nelson_aalen",
    "proportionality",
]
