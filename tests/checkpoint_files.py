"""Real files for the tests of checkpoints and commands: two toy languages, a tokenizer, tiny models."""

import random

import torch

VOCABULARY, CONTEXT = 300, 32
SIZE = {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
SENTENCES = {
    "en": "the cat sat on a mat and the dog ran to an old red barn by the sea",
    "ru": "кот сидел на окне и пёс бежал к старому дому у моря the a red",
}
WORDS = {name: sentence.split() for name, sentence in SENTENCES.items()}


def text(name, documents=60, seed=0):
    """Documents of random words, separated by blank lines."""
    draw = random.Random(f"{name} {seed}")
    return "\n\n".join(" ".join(draw.choices(WORDS[name], k=60)) + "." for _ in range(documents)) + "\n"


def write_texts(folder, documents=60):
    """``en.txt`` and ``ru.txt``; their paths by name."""
    paths = {name: folder / f"{name}.txt" for name in WORDS}
    for name, path in paths.items():
        path.write_text(text(name, documents), encoding="utf-8")
    return paths


def tokenizer():
    """A byte-level BPE tokenizer of transformers, trained on both languages."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    held = Tokenizer(models.BPE())
    held.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    held.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    held.train_from_iterator([text(name, 5) for name in WORDS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=held, eos_token="<end>")


def model(seed=0, **changed):
    """A tiny GPT-2 of transformers without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(**(SIZE | ends | dropout | changed)))


def taught(steps=20):
    """The model after some steps of Adam on both languages, where the order has an effect to be seen."""
    held = model()
    optimizer = torch.optim.Adam(held.parameters(), lr=1e-2)
    both = torch.stack([windows(name, 32, 16) for name in WORDS])
    for step in range(steps):
        tokens = both[:, step * 4 % 32 :][:, :4].flatten(0, 1)
        logits = held(input_ids=tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return held


def windows(name, count=32, length=CONTEXT, seed=1):
    """So many windows of a language's tokens, (count, length)."""
    found = tokenizer()(text(name, 200, seed), verbose=False)["input_ids"]
    return torch.tensor(found[: count * length]).view(count, length)


def save(folder, held=None):
    """A Hugging Face folder, by ``save_pretrained``."""
    (held or model()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def trainer_folder(folder, held, **changed):
    """A checkpoint as transformers.Trainer writes it after two steps, and the trainer itself."""
    from transformers import Trainer, TrainingArguments, default_data_collator

    tokens = windows("en", 16)
    settings = {
        "max_steps": 2,
        "save_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.1,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    arguments = TrainingArguments(output_dir=str(folder), **(settings | changed))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    made = Trainer(
        model=held,
        args=arguments,
        train_dataset=data,
        data_collator=default_data_collator,
        processing_class=tokenizer(),
    )
    made.train()
    return folder / "checkpoint-2", made
