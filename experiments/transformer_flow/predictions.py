"""Local predictions of an excess loss by the generated kernels, with third derivatives by autograd."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from commute_verify.kernels import numpy_kernels
from experiments.quadratic.predictions import Expansion, Signature
from experiments.transformer_flow.problem import EACH, Problem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Derivatives:
    """Derivatives of all losses at θ, contracted with their gradients.

    ``g`` (K, n) = ∇L_i; ``Hg`` (K, K, n), Hg[i, j] = H_i g_j; ``Tgg`` (K, K, K, n), Tgg[i, j, k] =
    D³L_i(g_j, g_k).
    """

    g: Array
    Hg: Array
    Tgg: Array


def derivatives(problem: Problem) -> Derivatives:
    """All of them at the problem's θ, reverse over reverse over reverse.

    Third derivatives are wrong unless every LayerNorm of the model is written out.
    """
    K, n = len(EACH), problem.theta.size
    g = np.stack([problem.gradient(each, problem.theta) for each in EACH])
    directions = torch.from_numpy(g)
    Hg, Tgg = np.zeros((K, K, n)), np.zeros((K, K, K, n))
    for i, each in enumerate(EACH):
        point = torch.tensor(problem.theta, requires_grad=True)
        (gradient,) = torch.autograd.grad(problem.loss(each, point), point, create_graph=True)
        for j in range(K):
            (product,) = torch.autograd.grad(gradient @ directions[j], point, create_graph=True)
            Hg[i, j] = product.detach().numpy()
            for k in range(j, K):
                (third,) = torch.autograd.grad(product @ directions[k], point, retain_graph=True)
                Tgg[i, j, k] = Tgg[i, k, j] = third.numpy()
    return Derivatives(g, Hg, Tgg)


def expansion(at: Derivatives, target: Array, unit: Signature) -> Expansion:
    """Excess of Σ_k target_k L_k on a schedule over its reference, when the schedule is stretched to T.

    ``unit`` holds the schedule's iterated integrals minus the reference's, before stretching.
    """
    d1, d2, d3 = unit
    u = target @ at.g
    Hu, HLg = np.einsum("j,ijn->in", target, at.Hg), np.einsum("i,ijn->jn", target, at.Hg)
    Tu_g, TL = np.einsum("j,ijkn->ikn", target, at.Tgg), np.einsum("i,ijkn->jkn", target, at.Tgg)
    second = numpy_kernels.excess_loss_2(d1, d2, at.g, u, Hu, HLg)
    both = numpy_kernels.excess_loss_3(d1, d2, d3, at.g, u, Hu, at.Hg, HLg, Tu_g, TL)
    return Expansion(np.asarray(second, np.float64), np.asarray(both - second, np.float64))
