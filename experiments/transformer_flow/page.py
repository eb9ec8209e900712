"""Report blocks of the transformer experiment, a pure function of its results."""

from typing import Any

from commute_verify.report import Block, Figure, Formula, Heading, Paragraph
from experiments.transformer_flow import plots, tables

COMMAND = "Made by `python -m experiments`."


def glance(results: dict[str, Any]) -> list[Block]:
    """Table 1 for the transformer: the mixture's loss under a swap."""
    caption = (
        f"Observed over predicted excess loss of a swap in a GPT-2 of {results['model']['parameters']} "
        "parameters, target the mixture; “12” trains language 1 first."
    )
    shown = [("L", training) for training in tables.TRAININGS]
    return [Heading("Table 1 for a transformer"), tables.ratios(results["swap"], caption, shown)]


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    size, found = results["model"]["parameters"], tables.headline(results["swap"])
    return f"On a GPT-2 of {size} parameters in float64 {found}."


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each of ``PARTS``."""
    return [
        Heading("A transformer, where the theory must hold exactly"),
        *_setting(results),
        Figure(
            "transformer-flow",
            plots.ladders(results, "transformer-flow"),
            r"Every schedule, target and order of training, against $\Delta t\,\lambda_{\max}$ of its own "
            "mixture; bold is the swap with language 1 first, target the mixture. Above: the ratio, cut off "
            "where a prediction passes through zero. Below: its error falls with slope 1 at order 2 and "
            "with slope 2 at order 3, down to the shortest window; crosses are the error of the observation, "
            f"a power of ten above what other tolerances change, the worst of all. {COMMAND}",
            "Bundles of lines that leave the ratio 1 as the window grows, and the same on logarithmic axes, "
            "parallel to guides of slope 1 and 2.",
        ),
        tables.slopes(results),
        Heading("Where it fails", 3),
        Paragraph(tables.failures(results)),
        tables.validity(results),
        *(
            tables.ratios(results[name], _caption(results[name], words), _FIRST_LANGUAGE_FIRST)
            for name, words in _LADDERS.items()
        ),
    ]


_FIRST_LANGUAGE_FIRST = [(target, "12") for target in tables.TARGETS]
_LADDERS = {"swap": "Swap", "tilt_even": "Tilt", "tilt_skewed": "Tilt"}


def _caption(result: dict[str, Any], words: str) -> str:
    w, delta = result["weight"], result["delta"]
    weights = f"({w:g}, {1 - w:g})"
    return (
        f"{words}: weights {weights} ± {delta:g} against {weights}, observed over predicted; "
        rf"$\lambda_{{\max}} = {result['lambda_max']:.1f}$."
    )


def _trap(model: dict[str, Any]) -> str:
    gap = model["third_derivative_gap"]
    if gap < 1e-6:
        return "with PyTorch's own `layer_norm` they are the same here."
    return (
        f"with PyTorch's own `layer_norm` they are wrong by {gap:.0%}, and nothing says so (pytorch issue "
        "175754)."
    )


def _setting(results: dict[str, Any]) -> list[Block]:
    model = results["model"]
    before, after = (" and ".join(f"{x:.2f}" for x in model[key]) for key in ("losses_before", "losses"))
    norms = " and ".join(f"{x:.2f}" for x in model["gradient_norms"])
    cells = [cell for name in tables.LADDERS for cell in results[name]["cells"]]
    shortest = min(cell["dt"] for cell in cells)
    worst = max(cell["uncertainty"] for cell in cells)
    at_shortest = max(cell["uncertainty"] for cell in cells if cell["dt"] == shortest)
    layers = f"{model['layers']} layers" if model["layers"] > 1 else "one layer"
    return [
        Paragraph(
            f"A GPT-2 of `transformers` with {layers} of width {model['width']} "
            f"({model['parameters']} parameters), in float64, without dropout and with fixed batches of two "
            f"synthetic languages ({model['rows']} × {model['context']} tokens of each, a vocabulary of "
            f"{model['vocabulary']} half of which is shared). {model['steps']} steps of descent on the "
            f"mixture take the losses from {before} to {after} nats a token; there the gradients have norms "
            f"{norms} and cosine ${model['cosine']:.2f}$, and the mixture's Hessian has "
            rf"$\lambda_{{\max}} = {model['lambda_max']:.1f}$ (Lanczos, {model['products']} products). "
            "Each schedule is then followed by its gradient flow, so closely that every deviation below is "
            "the prediction's."
        ),
        Formula(
            r"L(\theta_w) - L(\theta_{\mathrm{const}}) = \Delta t^2 E_2 + \Delta t^3 E_3 + O(\Delta t^4),"
            r"\qquad \mathrm{swap:}\ E_2 = \tfrac12 P(L_1, L_2; L)"
        ),
        Paragraph(
            "$E_2$ and $E_3$ come from the generated functions, with third derivatives by nested reverse "
            f"mode, of a twin of the model with LayerNorm written in elementary operations: {_trap(model)} "
            "What is observed keeps its digits: the flow (DOP853, relative tolerance "
            f"{model['rtol']:g}) integrates displacements, and an excess is the line integral of "
            r"$\langle \nabla L, \theta_w - \theta_{\mathrm{const}} \rangle$ over "
            f"{model['nodes']} Gauss–Legendre points, not a difference of losses. Computed again with "
            f"tolerances {model['loose']:g} times looser, other steps and two points less, no excess changes "
            f"by more than {worst:.0e} of itself, nor by more than {at_shortest:.0e} at the shortest window: "
            r"there the rounding of $\theta$ plus a displacement is left, which grows as $1/\Delta t$."
        ),
    ]
