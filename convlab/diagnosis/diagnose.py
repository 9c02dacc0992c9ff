"""`convlab.diagnose`: what went wrong in a run, and what to try."""

from __future__ import annotations

from convlab.diagnosis.curve import ONE_OF, RULES, Evidence
from convlab.diagnosis.finding import Finding
from convlab.training.run import Run


def diagnose(run: Run) -> list[Finding]:
    """What the rules see in a run, in the order in which one would look; empty where there is nothing to be said.

    Args:
        run: at any time; with fewer than four epochs only a loss that is no number is told.

    Example:
        >>> from convlab.models.gallery import lenet
        >>> from convlab.spec import TrainSpec
        >>> from convlab.training.fit import fit
        >>> [finding.rule for finding in diagnose(fit(lenet(), "digits", TrainSpec(epochs=5, lr=1e-5)))]
        ['too_slow']
    """
    seen = Evidence.of(run)
    found = [finding for rule in RULES if (finding := rule(seen)) is not None]
    first = next((one for one in found if one.rule in ONE_OF), None)
    return [one for one in found if one.rule not in ONE_OF or one is first]
