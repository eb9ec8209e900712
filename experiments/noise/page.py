"""Report blocks of the noise experiment, a pure function of its results."""

from typing import Any

from commute_verify.report import Block, Figure, Formula, Heading, Paragraph, Table
from experiments.noise import plots

COMMAND = "Made by `python -m experiments`."
TERMS = ("curvature", "third derivative", "covariance")
PREDICTIONS = {"bracket": "bracket", "noise": "bracket and noise", "steps": "noise and steps"}


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    result = results["sgd"]
    start = result["starts"][0]
    turned = [
        cell["rate"]
        for cell in start["cells"]
        if _sign(cell) == "turned" and cell["without noise"] * cell["predicted"]["bracket"] > 0
    ]
    where = f"turns which order is better at $\\eta = {min(turned):g}$" if turned else "turns no order"
    return (
        f"In SGD with minibatches of {result['batch']} on a small network the run's own noise, which $P$ "
        f"does not hold, {where} ({result['seeds']} seeds)."
    )


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each of ``PARTS``."""
    return [
        Heading("Noise of the run itself"),
        *_quadratic(results["quadratic"]),
        *_sgd(results["sgd"]),
        *_estimate(results["estimate"]),
    ]


def _quadratic(result: dict[str, Any]) -> list[Block]:
    n = result["steps"]
    rows = tuple(
        (
            f"{cell['rate']:g}",
            _number(cell["observed"]),
            *(_ratio(cell["observed"], cell["predicted"][key]) for key in PREDICTIONS),
            _ratio(cell["observed"] - cell["without noise"], _noise(cell)),
            _ratio(cell["shared"], sum(cell["shared predicted"].values())),
        )
        for cell in result["cells"]
    )
    return [
        Paragraph(
            f"Steps with noisy gradients: {n} of each domain in one order, and in the other. Predicted of "
            "the difference are the bracket, the noise terms $N$ for the covariance of a step's gradient, "
            "and what finite steps ($D$) and the flow's own next order ($F$) add without any noise "
            "(`python -m proofs noise-steps`)."
        ),
        Formula(
            r"\mathbb{E} L_{12} - \mathbb{E} L_{21} = n^2 \eta^2 (P + \eta N + \eta D) + \tfrac12 n^3 "
            r"\eta^3 F + O(\eta^4), \quad N = \mathrm{tr}(\Sigma_2 H_1 H_L) + \tfrac12 "
            r"D^3 L_1(\Sigma_2, \nabla L) - \tfrac12 (D_{g_1} \Sigma_2) : H_L - (1 \leftrightarrow 2)"
        ),
        Paragraph(
            f"On quadratics with constant covariances ({result['dimension']} dimensions, "
            r"$\mathrm{tr}\,\Sigma$ "
            f"{result['noise']:g} times the mean square of the gradients) the moments of SGD are known "
            "exactly: nothing is sampled."
        ),
        Table(
            (r"$\eta \lambda_{\max}$", "observed", *PREDICTIONS.values(), "noise alone", "shared"),
            rows,
            f"Quadratics, exact moments, $n = {n}$: the difference of the orders, and its ratio to each "
            f"prediction; 1 is right. {COMMAND}",
            "“Noise alone” is the difference less that of the same steps without noise, over the noise "
            "terms. “Shared” is what both orders have in common against a mixture whose examples' domains "
            r"are drawn, over $-\frac14 n \eta^2 \langle (H_1 - H_2) d, \nabla L \rangle - "
            rf"\frac{{n \eta^2}}{{4B}} \langle d, H_L d \rangle$, $d = g_1 - g_2$, $B = {result['batch']}$.",
        ),
    ]


def _sgd(result: dict[str, Any]) -> list[Block]:
    return [
        Paragraph(
            f"A network of one hidden layer ({result['parameters']} parameters, {result['examples']} "
            f"examples of each domain), SGD with minibatches of {result['batch']} drawn with replacement, "
            f"$n = {result['steps']}$ steps of each domain and {result['seeds']} seeds at every rate, both "
            "orders from the same minibatches, from a point early and a point late in training on the "
            "mixture. The derivatives and covariances in the predictions are exact, those of all examples."
        ),
        Figure(
            "noise-seeds",
            plots.seeds(result, "noise-seeds"),
            f"The mean difference of the two orders over $(n\\eta)^2$, its {result['level']:.0%} interval, "
            f"and the predictions. {COMMAND}",
            "Observed difference of the orders and three predictions against the step size, one panel for "
            "each start.",
        ),
        *(_seeds_table(result, start) for start in result["starts"]),
        Paragraph(_summary(result)),
    ]


def _seeds_table(result: dict[str, Any], start: dict[str, Any]) -> Table:
    rows = tuple(
        (
            f"{cell['rate']:g}",
            _with_half(cell["observed"]),
            *(_number(cell["predicted"][key]) for key in PREDICTIONS),
            _number(cell["without noise"]),
            _with_half(cell["shared"]),
            _number(sum(cell["shared predicted"].values())),
        )
        for cell in start["cells"]
    )
    noise = " and ".join(f"{ratio:.1f}" for ratio in start["noise"])
    return Table(
        (r"$\eta$", "observed", *PREDICTIONS.values(), "without noise", "observed", "predicted"),
        rows,
        f"SGD after {start['warm_up']} steps on the mixture: the mean difference of the orders, with "
        f"{result['level']:.0%} intervals, and what both share against the mixture.",
        rf"Loss {start['loss']:.3g}, $\|\nabla L\| = {start['slope']:.2g}$, "
        rf"$\lambda_{{\max}} = {start['lambda_max']:.2g}$; $\mathrm{{tr}}\,\Sigma_k$ is {noise} times "
        r"$\|g_k\|^2$. “Without noise”: the same steps with all examples in each.",
        (("", 1), ("difference of the orders", 5), ("shared", 2)),
    )


def _summary(result: dict[str, Any]) -> str:
    """Where each prediction is inside the interval, and where the sign of the bracket fails."""
    sentences = []
    for start in result["starts"]:
        cells = start["cells"]
        inside = {
            words: [
                c["rate"]
                for c in cells
                if abs(c["observed"]["mean"] - c["predicted"][key]) <= c["observed"]["half"]
            ]
            for key, words in PREDICTIONS.items()
        }
        told = "; ".join(
            f"{words}: {', '.join(f'{rate:g}' for rate in rates) or 'nowhere'}"
            for words, rates in inside.items()
        )
        signs = {kind: [f"{c['rate']:g}" for c in cells if _sign(c) == kind] for kind in ("turned", "kept")}
        wrong = [f"{c['rate']:g}" for c in cells if c["observed"]["mean"] * c["predicted"]["steps"] < 0]
        last = cells[-1]
        sentences.append(
            f"After {start['warm_up']} steps a prediction lies in the interval at these rates ({told}). The "
            f"difference has the sign of $P$ at {_listed(signs['kept'])} and the other at "
            f"{_listed(signs['turned'])}; with all terms the predicted sign is wrong at {_listed(wrong)}. At "
            f"$\\eta = {last['rate']:g}$ the observed difference is "
            f"{_ratio(last['observed']['mean'], last['predicted']['steps'])} of the predicted one."
        )
    return f"{' '.join(sentences)} What is of higher order in $\\eta$ is in none of the predictions."


def _estimate(result: dict[str, Any]) -> list[Block]:
    rows = tuple(
        (
            str(start["warm_up"]),
            name,
            _number(start[key]["exact"]),
            f"{_number(start[key]['found'])} ± {start[key]['stderr']:.1g}",
        )
        for start in result["starts"]
        for key, name in (("P", "$P$"), ("noise", "$N$"))
    )
    terms = "; ".join(
        f"after {start['warm_up']} steps "
        + ", ".join(
            f"{name} {_number(one['found'])} ({_number(one['exact'])})"
            for name, one in ((name, start["terms"][name]) for name in TERMS)
        )
        for start in result["starts"]
    )
    return [
        Paragraph(
            f"What `effect.noise` finds from {result['estimate']} batches of {result['wide']} examples of "
            f"each domain, told that a step of the run takes {result['batch']}, with $P$ from "
            f"{result['large']} batches of {4 * result['examples']}, beside the exact values; ± is one "
            f"standard error. Its verdicts after {result['starts'][0]['warm_up']} steps stand below, in its "
            "own words."
        ),
        Table(
            ("start", "of", "exact", "found"),
            rows,
            f"$P$, to which a run at $\\eta$ adds $\\eta N$, and $N$: exact and found. {COMMAND}",
            f"The parts of $N$, found (exact): {terms}.",
        ),
        Table(
            ("verdict",),
            tuple((words,) for words in result["starts"][0]["verdicts"]),
            "Whether the noise matters at each of the rates, as `effect.noise(...).verdict` says it.",
        ),
    ]


def _sign(cell: dict[str, Any]) -> str:
    """Whether the observed sign is that of P, the other, or not resolved."""
    seen = cell["observed"]
    if abs(seen["mean"]) <= seen["half"]:
        return "open"
    return "kept" if seen["mean"] * cell["predicted"]["bracket"] > 0 else "turned"


def _noise(cell: dict[str, Any]) -> float:
    return float(cell["predicted"]["noise"] - cell["predicted"]["bracket"])


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _ratio(observed: float, predicted: float) -> str:
    return f"{observed / predicted:.3f}".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _with_half(pair: dict[str, float]) -> str:
    return f"{_number(pair['mean'])} ± {pair['half']:.1g}".replace("e-", "e−")
