r"""The memory predictor: what the optimizer's buffers alone do, to first order in the learning rate.

The update is run along both schedules with every gradient taken at θ₀, where the window starts. For AdamW and
one step of each domain, two orders then end −η τ apart,

    τ = u(g_A; z) + u(g_B; z after A) − u(g_B; z) − u(g_A; z after B),

with u the update and z its buffers; longer schedules, momentum, decay and common tails come out alike. A tail
is part of the schedule: it takes away the first moment's part alone. Source: Sweeney (2026) for τ.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from commute_verify.criterion.objective import located
from commute_verify.criterion.prediction.answer import verdict
from commute_verify.criterion.prediction.coordinates import Coordinates
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.criterion.prediction.update import State, advance, initial

REACH = 0.3
"""The longest window, as flow time · λ_max, on which gradients may be taken as those at its start."""


def memory(question: Question) -> Found:
    """One replicate: a gradient of every domain for each step, all at the start.

    The verdict's λ_max is of the first batch of each domain: curvature of one batch is rather too large than
    too small, and that of all would cost more than the prediction.
    """
    fields, optimizer = question.fields, question.optimizer
    gap = _gap(question)
    found = np.zeros(question.mixing.shape[1])
    for c in question.asked:
        u = question.held_out.loss_and_gradient(c, question.held_out.theta)[1]
        found[c] = float(torch.dot(u.double(), gap.double()))
    first = {name: batches[:1] for name, batches in fields.batches.items()}
    few = Surface(fields.objective, first, fields.method, fields.tally)
    g = few.gradients()
    D = optimizer.after(g.new_tensor(question.average().tolist()) @ g).preconditioner(fields.theta)
    at = Coordinates(None if D is None else D.sqrt(), 0.0)
    reach = question.window.flow_time() * at.curvature(few, question.average(), at.inward(g))
    judged = verdict("flow time · λ_max", reach, REACH, "where gradients stay what they are, at most")
    notes = (f"memory alone, gradients as at the start; flow time · λ_max = {reach:.3g}",)
    return Found(question.mixing @ found, [judged] * len(question.mixing), notes)


def _gap(question: Question) -> Tensor:
    """θ after the schedule less θ after the reference; step s takes batch s of a domain, in turn if fewer."""
    fields, optimizer = question.fields, question.optimizer
    weights, reference, rates = question.window.per_step()
    states: list[State] = [initial(optimizer, fields.theta)] * 2
    only: dict[str, Tensor] = {}
    for s, rate in enumerate(rates):
        g = []
        for name in fields.names:
            batches = fields.batches[name]
            if len(batches) > 1 or name not in only:
                number = s % len(batches)
                with located(f"domain {name!r}, batch {number + 1}"):
                    only[name] = fields.derivatives(fields.theta, batches[number]).gradient
            g.append(only[name])
        stacked = torch.stack(g)
        states = [
            advance(optimizer, state, stacked.new_tensor(w[s].tolist()) @ stacked, float(rate), s)
            for state, w in zip(states, (weights, reference), strict=True)
        ]
    return states[0].theta - states[1].theta
