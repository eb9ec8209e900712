"""The packages that are asked for only by those who use them: the real ones, where they are installed."""

import json

import pytest

from experiments.gpt2.loop import train
from experiments.gpt2.metrics import read
from experiments.gpt2.sources import HuggingFace
from tests import gpt2_small as small


@pytest.mark.filterwarnings("default")  # theirs, not ours
def test_datasets_streams_the_documents_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    pytest.importorskip("datasets")
    texts = [f"document {n}\n" for n in range(5)]
    (tmp_path / "data").mkdir()
    rows = [json.dumps({"text": text, "url": "none"}) for text in [*texts, " "]]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(rows))
    assert list(HuggingFace(str(tmp_path / "data"), None).documents()) == texts


@pytest.mark.filterwarnings("default")
def test_tensorboard_reads_back_what_metrics_hold(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shards = small.build(tmp_path / "shards")
    settings = small.changed(steps=3)
    train(settings, shards, small.constant(3), None, tmp_path / "run",
          counts="exact", tensorboard=True, progress=False)  # fmt: skip
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    scalars = found.Scalars("train/en (bits per byte)")
    told = [(line["step"], line["bits_per_byte"]["en"]) for line in read(tmp_path / "run")]
    assert [one.step for one in scalars] == [step for step, _ in told] == [0, 1, 2]
    assert [one.value for one in scalars] == pytest.approx([bits for _, bits in told], rel=1e-6)  # float32
