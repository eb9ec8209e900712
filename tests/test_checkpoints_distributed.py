"""torch DCP folders, written by torch.distributed.checkpoint itself, and pickles that must not run."""

import pickle
import warnings

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

from commute_verify.checkpoints import dcp_metadata, read_checkpoint
from commute_verify.criterion import AdamPreconditioner
from commute_verify.errors import CommuteError
from tests import checkpoint_files as files

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return str(files.save(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def trained():
    model = files.model(seed=3)
    named = list(model.named_parameters())
    groups = [
        {"params": [p for _, p in named if p.ndim > 1]},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3)
    model(input_ids=files.windows("en", 4), labels=files.windows("en", 4)).loss.backward()
    optimizer.step()
    return model, optimizer


def write(folder, held):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of DCP, that there is one process
        dcp.save(held, checkpoint_id=folder, no_dist=True)
    return folder


def by_number(model, optimizer):
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def by_name(model, optimizer):
    return {"app": {"model": model.state_dict(), "optim": get_optimizer_state_dict(model, optimizer)}}


def flat(model, optimizer):
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    return {"m": model.state_dict(), "o": get_optimizer_state_dict(model, optimizer, options=options)}


def compiled(model, optimizer):
    weights = {f"_orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    return {**weights, "optimizer": optimizer.state_dict()}


@pytest.mark.parametrize("layout", [by_number, by_name, flat, compiled])
def test_a_folder_comes_back_with_its_moments(tmp_path, trained, config, layout):
    model, optimizer = trained
    found = read_checkpoint(write(tmp_path / "step-40", layout(*trained)), config=config)
    own = dict(model.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in found.model.named_parameters())
    expected, got = (
        AdamPreconditioner.from_optimizer(optimizer).on(model),
        found.preconditioner.on(found.model),
    )
    assert expected.keys() == got.keys()
    assert all(torch.equal(one, got[name]) for name, one in expected.items())
    assert (found.step, found.lr, found.kind) == (40, 2e-3, "torch DCP")


def test_a_folder_without_moments_gives_plain_gradients(tmp_path, trained, config):
    found = read_checkpoint(write(tmp_path / "w", trained[0].state_dict()), config=config)
    assert found.preconditioner is None
    assert "no moments of Adam" in found.notes[0]


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


def planted(path):
    """Metadata that run code when PyTorch loads them."""
    metadata = pickle.loads(path.read_bytes())
    metadata.planner_data = Evil()
    path.write_bytes(pickle.dumps(metadata))


def test_metadata_that_want_to_run_code_are_refused_and_do_not_run(tmp_path, trained, config):
    folder = write(tmp_path / "w", by_number(*trained))
    planted(folder / ".metadata")
    with pytest.raises(CommuteError, match=r"names builtins\.exec, .* may run code: it was not read"):
        read_checkpoint(folder, config=config)


def test_the_metadata_that_are_refused_would_have_run_in_pytorch(tmp_path, trained):
    folder = write(tmp_path / "w", by_number(*trained))
    planted(folder / ".metadata")
    with pytest.raises(SystemExit, match="it ran"):
        dcp.FileSystemReader(folder).read_metadata()


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("torch", "load"), ("torch.serialization", "load"), ("torch", "Size.__class__")],
)
def test_what_is_no_metadata_cannot_be_named(tmp_path, module, name):
    parts = (
        b"\x80\x04",
        *(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)),
        b"\x93.",
    )
    path = tmp_path / ".metadata"
    path.write_bytes(b"".join(parts))
    with pytest.raises(CommuteError, match="may run code"):
        dcp_metadata.read_metadata(path)


def test_an_entry_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path, trained, config):
    model, optimizer = trained
    held = by_number(model, optimizer)
    held["optimizer"] = {
        **held["optimizer"],
        "param_groups": [{**held["optimizer"]["param_groups"][0], "x": Evil()}],
    }
    folder = write(tmp_path / "w", held)
    with pytest.raises(CommuteError, match=r"asks for more than tensors .* may run code"):
        read_checkpoint(folder, config=config)


@pytest.mark.parametrize("elsewhere", ["/etc/passwd", "../__0_0.distcp"])
def test_a_file_outside_the_folder_is_refused(tmp_path, trained, config, elsewhere):
    folder = write(tmp_path / "w", by_number(*trained))
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    next(iter(metadata.storage_data.values())).relative_path = elsewhere
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CommuteError, match="is not in its folder"):
        read_checkpoint(folder, config=config)


def test_a_folder_needs_its_architecture_and_says_so(tmp_path, trained, config):
    folder = write(tmp_path / "w", by_number(*trained))
    with pytest.raises(CommuteError, match="give --config FOLDER"):
        read_checkpoint(folder)
    with pytest.raises(CommuteError, match=r"cannot read the architecture"):
        read_checkpoint(folder, config=str(tmp_path))
    for changed, told in (({"n_layer": 3}, r"lacks .*h\.2\."), ({"n_embd": 32}, "has shape")):
        other = files.save(tmp_path / str(changed), files.model(**changed))
        with pytest.raises(CommuteError, match=told):
            read_checkpoint(folder, config=str(other))


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_folder_cut_short_is_one_clear_error(tmp_path, trained, config, name):
    folder = write(tmp_path / "w", by_number(*trained))
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CommuteError, match="cannot read") as caught:
        read_checkpoint(folder, config=config)
    assert "\n" not in str(caught.value)
