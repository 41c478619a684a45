"""Texts: the vocabulary, and an encoder that does the same in training and evaluation."""

import torch
from torch import nn

from polymodal.modalities import Text
from polymodal.modalities.text import END, PADDING, UNKNOWN


def test_the_vocabulary_is_that_of_the_texts_it_learned_from():
    caption = Text.learn(["A red bird!", "a blue bird", "a blue boat"], length=6)
    assert caption.vocabulary[:4] == ("a", "bird", "blue", "!")
    assert caption.levels == 3 + 6
    known = caption.read("a GREEN boat")
    assert known.tolist() == [3, UNKNOWN, 3 + caption.vocabulary.index("boat"), END, PADDING, PADDING]


def test_length_and_size():
    texts = ["one two three four", "one two", "one"]
    assert Text.learn(texts).length == 5
    assert Text.learn(texts, size=2).vocabulary == ("one", "two")
    assert Text.learn(texts, length=3).read(texts[0]).tolist() == [3, 4, END]


def test_an_empty_text_is_not_padding_alone():
    caption = Text.learn(["a bird"], length=3)
    assert torch.equal(caption.read(""), caption.blank)
    assert caption.write(caption.blank) == ""


def test_the_encoder_does_the_same_in_training_and_evaluation_with_and_without_gradients():
    caption = Text(7, ("a", "b"), width=8, layers=2, heads=2, feedforward=8, dropout=0.0)
    encoder = caption.encoder(4)
    tokens = torch.tensor([[3, 4, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [3, 4, 3, 4, 3, 4, 1], [0] * 7])
    trained = encoder.train()(tokens)
    assert trained.isfinite().all()
    torch.testing.assert_close(encoder.eval()(tokens), trained)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(tokens), trained.detach(), rtol=1e-4, atol=1e-5)


def test_padded_positions_do_not_reach_the_features():
    caption = Text(4, ("a", "b"), width=8, layers=1, heads=2, feedforward=8, dropout=0.0)
    encoder = caption.encoder(4)
    seen = []
    encoder.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    encoder(torch.tensor([[3, 1, 0, 0]]))
    assert (seen[0].view(4, 8)[2:] == 0).all()
    assert (seen[0].view(4, 8)[:2] != 0).any()


def test_the_papers_networks_are_the_defaults():
    encoder = Text(18, tuple(map(str, range(50)))).encoder(128)
    layer = encoder.transformer.layers[0]
    assert (encoder.embedding.embedding_dim, len(encoder.transformer.layers)) == (512, 4)
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.dropout.p) == (4, 1024, 0.5)
    assert encoder.embedding.weight.abs().max() <= 0.1
    assert encoder.head.in_features == 18 * 512
    decoder = Text(18, tuple(map(str, range(50)))).decoder(128)
    assert [layer.out_features for layer in decoder if isinstance(layer, nn.Linear)] == [512, 18 * 53]
