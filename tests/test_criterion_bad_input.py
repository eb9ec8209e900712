"""Bad input: one clear error each, which says where and what to do, and the model left as it was."""

import pytest
import torch
from torch import nn

from commute_verify import CommuteError, hvp, lie_bracket, order_effect
from commute_verify.criterion import hessian_products
from commute_verify.criterion.budget import Budget
from commute_verify.criterion.hessian_products import METHODS
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.sampling import group_sizes
from tests.criterion_models import regression, squares


@pytest.fixture
def model():
    """A model whose parameters, gradients and mode must be the same at the end of the test."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double().eval()
    squares(net, regression(torch.Generator(), 4))[0].backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in net.parameters()]
    yield net
    for p, (value, grad) in zip(net.parameters(), before, strict=True):
        assert torch.equal(p, value)
        assert torch.equal(p.grad, grad)
    assert not any(module.training for module in net.modules())


def data(count=12):
    draw = torch.Generator().manual_seed(0)
    return {name: [regression(draw, 4) for _ in range(count)] for name in "ab"}


def estimate(model, domains=None, loss_fn=squares, **options):
    options = {"batches": 12, "progress": False, "method": "double-backward"} | options
    return order_effect(model, loss_fn, data() if domains is None else domains, **options)


def spoiled(value, domain="b", number=7):
    domains = data()
    x, y = domains[domain][number - 1]
    domains[domain][number - 1] = (x, y * 0 + value)
    return domains


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_domain_and_batch(model, value, method):
    with pytest.raises(
        CommuteError, match=r"^domain 'b', batch 7: the loss is (nan|inf); leave the batch out"
    ):
        estimate(model, spoiled(value), method=method)


@pytest.mark.parametrize("number", range(1, 13))
def test_every_batch_is_named_by_its_place_in_the_domain(model, number):
    with pytest.raises(CommuteError, match=rf"^domain 'b', batch {number}: the loss is nan"):
        estimate(model, spoiled(float("nan"), number=number))


def test_a_gradient_that_is_not_finite_names_its_domain_batch_and_parameter(model):
    def rooted(m, batch):
        loss, weight = squares(m, batch)
        return loss + (0 * m[0].weight).abs().sum().sqrt(), weight  # √0 has no derivative

    with pytest.raises(CommuteError, match=r"^domain 'a', batch 1: .*its gradient in 0.weight is not finite"):
        estimate(model, loss_fn=rooted)


def test_a_second_derivative_that_is_not_finite_names_its_domain_and_batch():
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(model.weight)

    def loss_fn(m, power):
        x, y = m.weight[0]
        return (x - power) ** 2 + y.clamp(min=0) ** power, 1  # y^1.5 has a gradient at 0 and no curvature

    domains = {"a": [3.0] * 12, "b": [3.0] * 4 + [1.5] + [3.0] * 7}
    found = set()
    for seed in range(8):
        try:
            order_effect(model, loss_fn, domains, batches=12, method=METHODS[0], progress=False, seed=seed)
        except CommuteError as error:
            found.add(str(error))
    assert len(found) == 1
    assert found.pop().startswith(
        "domain 'b', batch 5: the second derivative by double-backward is not finite"
    )


@pytest.mark.parametrize("weight", [0, 0.0, -3, float("nan"), float("inf"), torch.tensor(0)])
def test_a_weight_that_weighs_nothing_is_refused(model, weight):
    with pytest.raises(
        CommuteError, match=r"^domain 'a', batch 1: the weight is .* above 0, such as a count"
    ):
        estimate(model, loss_fn=lambda m, b: (squares(m, b)[0], weight))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda loss: loss, "loss_fn returned Tensor; return"),
        (lambda loss: None, "loss_fn returned NoneType"),
        (lambda loss: (loss,), "loss_fn returned tuple"),
        (lambda loss: (loss.repeat(2), 1), "no scalar tensor; return the summed loss"),
        (lambda loss: (loss.item(), 1), "no scalar tensor"),
        (lambda loss: (loss.detach(), 1), "does not depend on the chosen parameters"),
        (
            lambda loss: (torch.zeros((), requires_grad=True) + 1, 1),
            "does not depend on the chosen parameters",
        ),
        (lambda loss: (loss, "many"), "weight"),
        (lambda loss: (loss, None), "weight"),
    ],
)
def test_an_answer_of_another_form_is_refused(model, answer, words):
    with pytest.raises(CommuteError, match=words):
        estimate(model, loss_fn=lambda m, b: answer(squares(m, b)[0]))


def test_a_loss_that_one_domain_alone_makes_independent_of_the_parameters_is_located(model):
    domains = {"a": data()["a"], "b": [None] * 12}

    def loss_fn(m, batch):
        return (torch.ones((), dtype=torch.float64), 1) if batch is None else squares(m, batch)

    with pytest.raises(CommuteError, match=r"^domain 'b', batch \d+: the loss does not depend"):
        estimate(model, domains, loss_fn)


def test_an_empty_domain_is_refused_before_anything_is_computed(model):
    def never(m, batch):
        raise AssertionError

    with pytest.raises(CommuteError, match="domain 'b' holds 0 batches of the 12 that are needed; give more"):
        estimate(model, data() | {"b": []}, never)
    with pytest.raises(CommuteError, match="domain 'a' holds 11 batches of the 12"):
        estimate(model, data() | {"a": data()["a"][:11]}, never)


class Unsized:
    """A re-iterable that does not know its length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_a_domain_that_ends_on_the_way_is_named(model):
    with pytest.raises(
        CommuteError, match="domain 'b' ran out after 10 batches; give more, or ask for fewer"
    ):
        estimate(model, data() | {"b": Unsized(data()["b"][:10])})
    with pytest.raises(CommuteError, match="domain 'b' ran out after 0 batches"):
        estimate(model, data() | {"b": Unsized([])})
    estimate(model, data() | {"b": Unsized(data()["b"])})


@pytest.mark.parametrize(
    "once", [iter, lambda batches: (b for b in batches), lambda batches: map(tuple, batches)]
)
def test_an_iterator_is_refused_as_it_can_be_read_only_once(model, once):
    with pytest.raises(
        CommuteError, match="domain 'a' is an iterator, which can be read only once; give a list"
    ):
        estimate(model, data() | {"a": once(data()["a"])})


@pytest.mark.parametrize("batches", [3, None, object(), "text" * 99, b"text" * 99, dict.fromkeys(range(99))])
def test_what_holds_no_batches_is_refused(model, batches):
    with pytest.raises(CommuteError, match=r"domain 'a' is .*, which holds no batches"):
        estimate(model, data() | {"a": batches})


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_domain_without_a_name_is_refused(model, name):
    with pytest.raises(CommuteError, match="give names that are texts"):
        estimate(model, {"a": [1], name: [1]})


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"mix": {"a": 0.5, "es": 0.5}}, "target 'mix' weighs es; the domains are a, b"),
        ({"mix": {"a": 0.5, "b": 0.4}}, "sum to 1"),
        ({"mix": {}}, "sum to 1"),
        ({"mix": {"a": 1.5, "b": -0.5}}, "numbers ≥ 0"),
        ({"mix": {"a": float("nan"), "b": 1.0}}, "numbers ≥ 0"),
        ({"mix": {"a": "half", "b": 0.5}}, "numbers ≥ 0"),
        ({"mix": ["a", "b"]}, "target 'mix' is a list; give a mapping from a, b to numbers"),
        (["mix"], "give a mapping from names that are texts"),
        ({3: {"a": 1.0}}, "names that are texts"),
        ({}, "no targets"),
    ],
)
def test_a_target_that_is_no_mixture_of_the_domains_is_refused(model, targets, words):
    with pytest.raises(CommuteError, match=words):
        estimate(model, targets=targets)


def test_a_domain_called_mixture_asks_for_targets(model):
    domains = {"mixture": data()["a"], "b": data()["b"]}
    with pytest.raises(CommuteError, match='a domain is called "mixture"'):
        estimate(model, domains)
    assert estimate(model, domains, targets={"b": {"b": 1.0}}).targets == ("b",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "fast"}, "method='fast'; give one of"),
        ({"method": "reverse-over-forward"}, "method='reverse-over-forward'; give one of"),
        ({"batches": 7}, "batches=7; give a whole number of at least 8"),
        ({"batches": 0}, "of at least 8"),
        ({"batches": 50.5}, "of at least 8"),
        ({"batches": True}, "of at least 8"),
        ({"seed": "zero"}, "seed='zero'; give a whole number"),
        ({"until": "forever", "budget": 100}, 'give until="resolved" and a budget together'),
        ({"until": "resolved"}, 'give until="resolved" and a budget together'),
        ({"budget": 100}, 'give until="resolved" and a budget together'),
        (
            {"until": "resolved", "budget": 10},
            "a budget below .* gradient passes, which the first look takes",
        ),
        ({"until": "resolved", "budget": "1 day"}, 'number of gradient passes, or a time such as "10m"'),
        ({"params": lambda name: False}, "no trainable parameter is chosen"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(model, options, words):
    with pytest.raises(CommuteError, match=words):
        estimate(model, **options)


@pytest.mark.parametrize("amount", [0, -1, "0s", "-3m", "10 m", "10", "", True, 2.5, None, [3]])
def test_a_budget_is_passes_or_a_time(amount):
    with pytest.raises(CommuteError, match="give a whole number of gradient passes"):
        Budget(amount)


@pytest.mark.parametrize(("amount", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_time_is_read_in_seconds_minutes_and_hours(amount, seconds):
    assert Budget(amount).seconds == seconds


@pytest.mark.parametrize("batches", [12, 13, 23, 24, 40, 99, 100, 1000])
def test_groups_use_all_batches_in_at_least_four_replicates_of_at_least_three(batches):
    sizes = group_sizes(batches)
    assert sum(sizes) == batches
    assert len(sizes) >= 4
    assert min(sizes) >= 3
    assert max(sizes) - min(sizes) <= 1


def test_a_model_without_trainable_parameters_is_refused(model):
    with pytest.raises(CommuteError, match="check requires_grad and the params filter"):
        estimate(nn.Linear(2, 1).requires_grad_(False))
    with pytest.raises(CommuteError, match="check requires_grad and the params filter"):
        estimate(nn.Identity())


def test_parameters_of_two_dtypes_or_devices_are_refused_and_a_part_of_one_is_not():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1).double())
    with pytest.raises(CommuteError, match=r"on cpu in torch.float32, torch.float64; .*one dtype"):
        estimate(model)
    model = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Linear(2, 1))
    with pytest.raises(CommuteError, match=r"on cpu, meta in torch.float32; .*one device"):
        estimate(model)
    with pytest.raises(CommuteError, match="meta device have no values"):
        estimate(nn.Linear(2, 1, device="meta"))

    def second_only(m, batch):
        x, y = batch
        return squares(m[1], (x.float(), y.float()))

    estimate(model, loss_fn=second_only, params=lambda name: name.startswith("1."))


def test_parameters_that_are_not_floating_are_refused():
    with pytest.raises(CommuteError, match=r"parameters in torch.int64; give floating-point"):
        Objective(lambda p, b: (p["n"].sum(), 1), {"n": torch.ones(2, dtype=torch.int64)})


def test_a_batch_on_another_device_or_of_another_dtype_is_named(model):
    x, y = data()["b"][4]
    for batch, words in (
        ((x.to("meta"), y.to("meta")), "move the batches to the model's device"),
        ((x.float(), y), "gradient failed on this model: .*Check that loss_fn takes this batch"),
    ):
        domains = data()
        domains["b"][4] = batch
        with pytest.raises(CommuteError, match=f"^domain 'b', batch 5: .*{words}"):
            estimate(model, domains)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which "
        "1.00 GiB is free."
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
        "to allocate 21474836480 bytes. Error code 12 (Cannot allocate memory)"
    ),
    MemoryError("Unable to allocate 20.0 GiB for an array"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["GPU", "CPU", "NumPy"])
def test_out_of_memory_says_how_much_was_needed_and_what_to_lower(model, error):
    def loss_fn(m, batch):
        raise error

    needed = r"(20\.00? GiB|21474836480 bytes)"
    with pytest.raises(
        CommuteError, match=rf"^domain 'a', batch 1: out of memory in gradient: .*{needed}"
    ) as told:
        estimate(model, loss_fn=loss_fn)
    for cure in ("smaller batches", 'method="finite-difference"', "use_reentrant=False"):
        assert cure in str(told.value)


@pytest.mark.parametrize("error", OUT_OF_MEMORY[:2], ids=["GPU", "CPU"])
def test_a_method_that_runs_out_of_memory_is_passed_over_by_auto(model, error, monkeypatch):
    def too_large(*arguments):
        raise error

    monkeypatch.setattr(hessian_products, "_double_backward", too_large)
    monkeypatch.setattr(hessian_products, "_forward_over_reverse", too_large)
    assert estimate(model, method="auto").method == "finite-difference"
    with pytest.raises(CommuteError, match="out of memory in double-backward"):
        estimate(model)


def test_really_too_large_a_tensor_is_out_of_memory(model):
    def loss_fn(m, batch):
        return squares(m, batch)[0] + torch.empty(2**58, dtype=torch.float64).sum(), 1

    with pytest.raises(CommuteError, match=r"out of memory in gradient: .*allocate \d+ bytes"):
        estimate(model, loss_fn=loss_fn)


def test_an_error_of_the_users_own_code_comes_through_as_it_is(model):
    def loss_fn(m, batch):
        return batch["tokens"]

    with pytest.raises(TypeError):
        estimate(model, loss_fn=loss_fn)


@pytest.mark.parametrize("method", METHODS)
def test_one_product_and_one_bracket_say_the_same(model, method):
    good, bad = data()["a"][0], spoiled(float("nan"))["b"][6]
    vector = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    with pytest.raises(CommuteError, match="the loss is nan"):
        hvp(model, squares, bad, vector, method=method)
    with pytest.raises(CommuteError, match="batch_j: the loss is nan"):
        lie_bracket(model, squares, good, bad, method=method)
    with pytest.raises(CommuteError, match="batch_i: the loss is nan"):
        lie_bracket(model, squares, bad, good, method=method)


def test_a_product_of_a_random_loss_by_differences_is_refused():
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    vector = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    with pytest.raises(CommuteError, match=r"settle at no step .*call model.eval\(\)"):
        hvp(model, squares, data()["a"][0], vector, method="finite-difference")
