"""Language models: shapes, names, cached steps beside whole sequences, windows of text, generated text."""

import inspect

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import data, models, nn, optim
from dlfast import functional as F

TEXT = "In the beginning was the Word, and the Word was with God, and the Word was God.\n" * 30
SMALL = {
    "char_lstm": {"embedding_dim": 6, "hidden_size": 9, "num_layers": 2, "dropout": 0.2},
    "char_gru": {"embedding_dim": 6, "hidden_size": 9, "num_layers": 2, "dropout": 0.2},
    "gpt": {"context": 16, "d_model": 12, "num_layers": 2, "nhead": 3, "dropout": 0.2},
}


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def small(name, vocab_size=11):
    return getattr(models, name)(vocab_size, **SMALL[name])


def codes(*shape, below=11):
    return np.random.default_rng(0).integers(0, below, shape)


# Models


@pytest.mark.parametrize("name", SMALL)
def test_logits_for_each_character(name):
    model = small(name)
    assert model(codes(3, 7)).shape == (3, 7, 11)
    assert model.eval()(codes(7)).shape == (7, 11)
    np.testing.assert_array_equal(model(codes(7)).data, model(codes(1, 7)).data[0])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5], [4, 5, 11], []])
def test_steps_with_a_state_equal_the_whole_sequence(name, cuts):
    model, x, state, parts = small(name).to(np.float64).eval(), codes(2, 14), None, []
    for part in np.split(x, cuts, axis=1):
        y, state = model.advance(part, state)
        assert not y.requires_grad
        parts.append(y.data)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), model(x).data, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", SMALL)
def test_first_loss_is_that_of_guessing(name):
    model, (x, y) = getattr(models, name)(50), (codes(4, 20, below=50), codes(4, 20, below=50))
    assert abs(F.cross_entropy(model(x), y).item() - np.log(50)) < 0.15


def test_names_of_gpts_parameters_are_pytorchs():
    model = models.gpt(11, context=16, d_model=12, num_layers=2, nhead=3)
    assert list(model.state_dict())[:4] == [
        "token.weight", "position.weight", "blocks.layers.0.self_attn.in_proj_weight",
        "blocks.layers.0.self_attn.in_proj_bias",
    ]  # fmt: skip
    assert sum(p.size for p in models.gpt(11, d_model=12, nhead=3, tie_weights=True).parameters()) + 132 == sum(
        p.size for p in models.gpt(11, d_model=12, nhead=3).parameters()
    )


@needs_torch
def test_gpt_beside_pytorch():
    model, tnn = small("gpt").eval(), torch.nn
    layer = tnn.TransformerEncoderLayer(12, 3, 48, 0.2, "gelu", batch_first=True, norm_first=True)
    parts = {
        "token": tnn.Embedding(11, 12),
        "position": tnn.Embedding(16, 12),
        "blocks": tnn.TransformerEncoder(layer, 2, tnn.LayerNorm(12), enable_nested_tensor=False),
        "head": tnn.Linear(12, 11, bias=False),
    }
    twin = tnn.ModuleDict(parts).eval()
    twin.load_state_dict({name: torch.tensor(value) for name, value in model.state_dict().items()})
    x = codes(2, 14)
    steps = twin["token"](torch.tensor(x)) + twin["position"].weight[:14]
    hidden = twin["blocks"](steps, tnn.Transformer.generate_square_subsequent_mask(14), is_causal=True)
    np.testing.assert_allclose(model(x).data, twin["head"](hidden).detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_few_steps_lower_the_loss(name):
    model, (train, val) = getattr(models, name)(30), data.Text.of(TEXT).split()
    history = dl.train.fit(
        model,
        data.DataLoader(train.random_windows(32, 48), 8),
        data.DataLoader(val.windows(32), 8),
        epochs=4,
        loss=F.cross_entropy,
        optimizer=optim.AdamW(model.parameters(), lr=3e-3, clip_grad_norm=1.0),
        metrics=(),
        progress=False,
    )
    assert history["val_loss"][-1] < min(2, 0.8 * history["train_loss"][0])


def test_learned_positions_by_gradcheck():
    for batch_first, shape in ((True, (2, 3, 4)), (False, (3, 2, 4)), (False, (3, 4))):
        layer = nn.LearnedPositions(4, 0.0, 5, batch_first=batch_first).to(np.float64)
        x = np.random.default_rng(0).normal(size=shape)
        dl.gradcheck(lambda x, w, layer=layer: layer(x, 1), [x, *layer.parameters()])
        steps = np.moveaxis(layer(x, 1).data - x, 1 if batch_first else 0, -2)
        np.testing.assert_allclose(steps, np.broadcast_to(layer.weight.data[1:4], steps.shape), atol=1e-15)
    with pytest.raises(ValueError, match="at most 5 steps, got shape .* from step 3"):
        layer(x, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.gpt(11, d_model=10, nhead=3), "num_heads must divide embed_dim 10"),
        (lambda: models.gpt(0), "gpt: vocab_size must be at least 1"),
        (lambda: models.char_lstm(0), "char_lstm: vocab_size must be at least 1"),
        (lambda: small("gpt")(codes(1, 17)), "at most 16 steps"),
        (lambda: small("gpt")(np.array([[11]])), "indices"),
        (lambda: small("gpt").advance(codes(1, 3), small("gpt").advance(codes(1, 14))[1]), "may have 16 characters"),
        (lambda: small("gpt").advance(codes(2, 1), small("gpt").advance(codes(1, 4))[1]), "must stay 1 sequences"),
        (lambda: nn.KeyValueCache(2).append(np.zeros((1, 3, 2, 1, 1))), "holds 2 steps, got 3"),
    ],
)
def test_bad_arguments_of_models(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Text


def test_text_of_a_string():
    text = data.Text.of("süß, süß\n")
    assert text.vocabulary == "\n ,sßü"
    assert text.decode(text.codes) == text.text
    np.testing.assert_array_equal(text.encode("süß"), text.codes[:3])


def test_split_keeps_the_end_apart():
    train, val = data.load("gospels").split()
    assert len(val) == round(0.1 * (len(train) + len(val)))
    assert train.vocabulary == val.vocabulary
    assert train.text + val.text == data.load("gospels").text
    assert val.decode(val.codes) == val.text


def test_windows_follow_each_other():
    windows = data.Text.of(TEXT).windows(50)
    x, y = windows[:]
    assert len(windows) == (len(TEXT) - 1) // 50 == len(x)
    np.testing.assert_array_equal(x.ravel(), data.Text.of(TEXT).codes[: x.size])
    np.testing.assert_array_equal(y.ravel(), data.Text.of(TEXT).codes[1 : x.size + 1])
    np.testing.assert_array_equal(windows[3][1], y[3])


def test_random_windows_follow_the_seed():
    windows = data.Text.of(TEXT).random_windows(50, 20)
    (first, targets), (second, _) = windows[:], windows[:]
    assert first.shape == (20, 50)
    assert (first != second).any()
    np.testing.assert_array_equal(first[:, 1:], targets[:, :-1])
    dl.manual_seed(0)
    np.testing.assert_array_equal(windows[:][0], first)
    assert len(data.Text.of(TEXT).random_windows(50)) == (len(TEXT) - 1) // 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.Text.of("abc").windows(3), "more than 3 characters, the length of a window, got 3"),
        (lambda: data.Text.of("abc").windows(0), "length must be at least 1"),
        (lambda: data.Text.of("abc").random_windows(2, 0), "count must be at least 1"),
        (lambda: data.Text.of("abc").split(0.01), "3 characters are too few"),
        (lambda: data.Text.of("abc").split(1), "validation"),
        (lambda: data.Text.of("abc").encode("abx"), "not in the vocabulary: 'x'"),
    ],
)
def test_bad_arguments_of_text(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Generation


@pytest.mark.parametrize("name", SMALL)
def test_generated_characters_follow_the_whole_forward(name):
    """The likeliest character each time is what the net without a cache calls the likeliest."""
    model, text = small(name).to(np.float64), [3, 1]
    written = list(models.generate(model, text, 12, top_k=1))
    assert all(module.training for module in model.modules())
    model.eval()
    for _ in range(12):
        text.append(int(model(np.array(text)).data[-1].argmax()))
    assert written == text[2:]


def test_a_full_context_goes_on_with_its_last_half():
    model, text = small("gpt").to(np.float64).eval(), codes(14).tolist()
    written = list(models.generate(model, text, 40, temperature=0.5, seed=1))
    assert len(written) == 40
    again = np.array(text + written)[17 - 8 : 17]  # after 14 + 3 characters, one more than the context holds
    logits = model(again).data[-1]
    assert written[3] == models.generation.draw(logits, 0.5, None, _after(4, seed=1))
    assert list(models.generate(model, codes(50), 3, top_k=1)) == list(
        models.generate(model, codes(50)[-8:], 3, top_k=1)
    )


def _after(draws, seed):
    rng = np.random.default_rng(seed)
    rng.random(draws - 1)
    return rng


def test_generation_follows_the_seed_and_the_temperature():
    model = small("char_gru")
    runs = [list(models.generate(model, [1], 30, seed=seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    cold = list(models.generate(model, [1], 30, temperature=1e-6, seed=2))
    assert cold == list(models.generate(model, [1], 30, top_k=1, seed=3))


def test_draw_keeps_to_the_likeliest():
    logits, rng = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32)), np.random.default_rng(0)
    drawn = np.bincount([models.generation.draw(logits, 1.0, None, rng) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, np.exp(logits), atol=0.03)
    assert {models.generation.draw(logits, 1.0, 2, rng) for _ in range(200)} == {1, 3}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], 3), {}, "prompt must hold codes"),
        (([0.5], 3), {}, "prompt must hold codes"),
        (([1], -1), {}, "length must be at least 0"),
        (([1], 3), {"temperature": 0}, "temperature"),
        (([1], 3), {"top_k": 0}, "top_k must be at least 1"),
    ],
)
def test_bad_arguments_of_generate(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        models.generate(small("gpt"), *arguments, **options)
    assert "temperature" in inspect.getdoc(models.generate)
