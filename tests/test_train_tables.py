"""Tables of pandas given to training: floats are float64, names of classes are objects or categories."""

import numpy as np
import pytest
from test_train_sources import X, Y, fit, net

from dlfast import train

pandas = pytest.importorskip("pandas")
TABLE = pandas.DataFrame(X.astype(np.float64), columns=list("abcd"))


def test_tables_behave_alike_everywhere():
    calls = (lambda x: net()(x), lambda x: fit(None, (x, Y)), lambda x: train.predict(net(), x))
    for call in calls:
        for wide in (TABLE, X.astype(np.float64)):
            with pytest.raises(TypeError, match=r"0 \(Linear\): linear: x is float64 and weight float32; cast x with"):
                call(wide)
            call(wide.astype(np.float32))
        call(X.tolist())
    model = net().to(np.float64)
    train.predict(model, TABLE)
    fit(model, (TABLE, Y))


def test_text_in_a_column_is_named():
    mixed = TABLE.assign(city="Bern")
    for call in (lambda: net()(mixed), lambda: fit(None, (mixed, Y)), lambda: train.predict(net(), mixed)):
        with pytest.raises(TypeError, match=r"columns 'city' .* are no numbers.*get_dummies"):
            call()
    assert pandas.get_dummies(mixed, dtype=np.float32).shape == (12, 5)


@pytest.mark.parametrize("kind", ["list", "array", "objects", "series", "categories", "categorical"])
def test_names_of_classes_are_to_be_numbered(kind):
    names = np.array(["cat", "dog", "eel"])[Y]
    series = pandas.Series(names)
    y = {
        "list": names.tolist(), "array": names, "objects": names.astype(object), "series": series,
        "categories": series.astype("category"), "categorical": pandas.Categorical(names),
    }[kind]  # fmt: skip
    advice = r"y = y\.cat\.codes" if kind == "categories" else r"names, y = np\.unique\(y, return_inverse=True\)"
    with pytest.raises(TypeError, match=f"train: the targets are .*{advice}"):
        fit(None, (X, y))
    with pytest.raises(TypeError, match=f"data: the targets are .*{advice}"):
        train.evaluate(net(), (X, y))
    numbered = y.cat.codes if kind == "categories" else np.unique(y, return_inverse=True)[1]
    np.testing.assert_array_equal(numbered, Y)
    fit(None, (X, numbered))


def test_series_of_integers():
    fit(None, (TABLE.astype(np.float32), pandas.Series(Y)))
