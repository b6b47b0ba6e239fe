"""How a sweep is searched: everything about it but the experiment and the values themselves."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rnnjax import config
from rnnjax.config import InputError
from rnnjax.sweep.spaces import Space

SAMPLERS = Literal["grid", "random", "sobol", "tpe", "cmaes", "gp"]
ADAPTIVE = ("tpe", "cmaes", "gp")


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """How a sweep is searched."""

    trials: int | None = config.field(None, "members in all; none: every crossing of listed values once", at_least=1)
    sampler: SAMPLERS = config.field("random", "where values come from: grid, random, sobol, tpe, cmaes or gp")
    sampler_seed: int = config.field(0, "draws the values", at_least=0, at_most=2**31 - 1)
    generation: int = config.field(64, "members that an adaptive sampler asks for at a time", at_least=1, at_most=256)
    metric: str = config.field("", "what members are compared by; none: validation_loss, or loss without a validation")
    halving: int | None = config.field(
        None, "successive halving: of so many members the best goes on at each rung", at_least=2
    )
    first_rung: int | None = config.field(None, "step of the first rung; none: so that five are left", at_least=1)
    exploit_every: int | None = config.field(
        None, "population-based training: steps after which the worst take over the best, perturbed", at_least=1
    )
    exploit_share: float = config.field(
        0.25, "share that takes over, and share that is taken over", above=0, at_most=0.5
    )
    perturb: float = config.field(1.25, "factor, or divisor, of the numbers that are taken over", above=1)
    width: int = config.field(0, "members of a batch at most; 0: as memory allows", at_least=0)
    batches: int = config.field(1, "batches at least, so that so many workers can share them", at_least=1)
    measure: bool = config.field(True, "whether layouts are timed; else rules choose")

    @property
    def adaptive(self) -> bool:
        """Whether values depend on how earlier members fared."""
        return self.sampler in ADAPTIVE

    def check(self, space: Space) -> None:
        """Refuses what does not go together.

        Raises:
          InputError: two ways of ending or changing members early, or an adaptive search without a number of trials.
        """
        if self.halving and self.exploit_every:
            raise InputError(
                "halving and exploit_every at once",
                "in the sweep",
                "choose one: halving ends members, the other changes them",
            )
        if self.adaptive and (self.halving or self.exploit_every):
            raise InputError(
                f"sampler {self.sampler} with members that end or change early",
                "in the sweep",
                "choose random or sobol with halving, or leave it out",
            )
        if self.adaptive and self.trials is None:
            raise InputError(f"sampler {self.sampler} without an end", "in --trials", "say how many: --trials 200")
        changing = [key for key in space.axes if key.startswith("train.")]
        if self.exploit_every and not changing:
            raise InputError(
                "nothing for population-based training to perturb",
                "in the sweep's axes",
                "sweep a number of the training, such as train.learning_rate=1e-4..1e-1:log",
            )
