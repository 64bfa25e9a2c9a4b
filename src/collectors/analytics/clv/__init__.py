"""Customer lifetime value: probability models of who is still a customer, how often they buy, and for how much.

Which model fits is a matter of the business (Fader & Hardie 2009, Journal of Interactive Marketing 23:61-69):

    ==============================  =======================================================
    subscription, renewed by period ``sbg`` (shifted beta-geometric, beta-discrete-Weibull)
    bought whenever one likes       ``bg_nbd`` (BG/NBD, MBG/NBD), ``pareto_nbd``
    a chance to buy every period    ``bg_bb``
    how much a purchase is worth    ``gamma_gamma``
    ==============================  =======================================================

Every ``fit`` maximises the likelihood over unique rows and returns a model with standard errors, or a ``Refusal``
that says why the data don't determine one. Nothing here returns NaN.
"""
