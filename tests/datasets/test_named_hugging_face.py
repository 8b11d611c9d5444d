"""``hf:PATH``: data sets of the library datasets, from folders."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from named_sets import encoded, jpeg, pixels

from art_multimodal.datasets import UnreadableSample, open_captioned, open_data
from art_multimodal.errors import InputError


def rows(library: Any, **columns: Any) -> Any:
    """Three images with labels and captions; other columns and their kinds, or ``None`` for none."""
    content = {
        "img": ([{"bytes": encoded(seed), "path": None} for seed in range(3)], library.Image()),
        "label": ([1, 0, 1], library.ClassLabel(names=["fire_truck", "dog"])),
        "caption": ([["a dog", "a hound"], ["a cat"], ["a fox"]], library.List(library.Value("string"))),
        **columns,
    }
    kept = {name: column for name, column in content.items() if column is not None}
    features = library.Features({name: kind for name, (_, kind) in kept.items()})
    import pyarrow

    # With a fingerprint: the library would pickle the table for one, which not all of its versions can.
    table = pyarrow.Table.from_pydict({name: values for name, (values, _) in kept.items()}, features.arrow_schema)
    info = library.DatasetInfo(features=features)
    return library.Dataset(library.table.InMemoryTable(table), info=info, fingerprint="rows")


def check(spec: str) -> None:
    data = open_data(spec)
    assert data.class_names == ("fire truck", "dog") and [data.label_of(index) for index in range(3)] == [1, 0, 1]
    for seed in range(3):
        assert np.array_equal(data.image(seed), pixels(1, 16, seed)[0].transpose(2, 0, 1).astype(np.float32) / 255)
    captioned = open_captioned(spec)
    assert captioned.captions_of(0) == ("a dog", "a hound") and captioned.image(2).shape == (3, 16, 16)


def test_what_save_to_disk_wrote(library, tmp_path: Path) -> None:
    rows(library).save_to_disk(tmp_path / "one")
    check(f"hf:{tmp_path / 'one'}")
    library.DatasetDict({"train": rows(library), "test": rows(library)}).save_to_disk(tmp_path / "both")
    check(f"hf:{tmp_path / 'both'}")
    check(f"hf:{tmp_path / 'both'}:split=train,image=img")
    with pytest.raises(InputError, match=r"Unknown split 'tset'. Did you mean test"):
        open_data(f"hf:{tmp_path / 'both'}:split=tset")
    with pytest.raises(InputError, match=r"Unknown column 'imge'. Did you mean img"):
        open_data(f"hf:{tmp_path / 'one'}:image=imge")


def test_parquet_files(library, tmp_path: Path) -> None:
    folder = tmp_path / "parquet" / "data"
    folder.mkdir(parents=True)
    rows(library).to_parquet(folder / "test-00000-of-00001.parquet")
    rows(library).to_parquet(folder / "train-00000-of-00001.parquet")
    check(f"hf:{tmp_path / 'parquet'}")
    check(f"hf:{tmp_path / 'parquet'}:split=train")
    (folder / "test-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"cannot be read as a data set .* Save it again"):
        open_data(f"hf:{tmp_path / 'parquet'}")


def test_labels_without_names(library, tmp_path: Path) -> None:
    rows(library, label=([1, 0, 1], library.Value("int64"))).save_to_disk(tmp_path / "one")
    with pytest.raises(InputError, match=r"The labels in the column label are numbers"):
        open_data(f"hf:{tmp_path / 'one'}")
    assert open_data(f"hf:{tmp_path / 'one'}", classes=("a", "b")).class_names == ("a", "b")
    with pytest.raises(InputError, match=r"Row 0 has the label 1, and there are 1|at least two"):
        open_data(f"hf:{tmp_path / 'one'}", classes=("a",))
    rows(library, label=(["y", "x", "y"], library.Value("string"))).save_to_disk(tmp_path / "two")
    assert open_data(f"hf:{tmp_path / 'two'}").class_names == ("x", "y")
    rows(library, label=None).save_to_disk(tmp_path / "three")
    with pytest.raises(InputError, match=r"no column label: say which, with :label=COLUMN. Columns: img, caption"):
        open_data(f"hf:{tmp_path / 'three'}")


def test_rows_that_name_files_read_none_outside(library, tmp_path: Path) -> None:
    jpeg(tmp_path / "secret.png")
    values = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": None, "path": "../secret.png"}]
    values.append({"bytes": b"%!PS-Adobe", "path": None})
    made = rows(library, img=(values, library.Image(decode=False)))
    from datasets.arrow_writer import ArrowWriter

    # As written by hand: save_to_disk would put the files in.
    (tmp_path / "one").mkdir()
    with ArrowWriter(path=str(tmp_path / "one" / "data-00000-of-00001.arrow"), features=made.features) as writer:
        writer.write_table(made.data.table)
        writer.finalize()
    made.info.write_to_directory(str(tmp_path / "one"))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "x", "_format_columns": None}
    state |= {"_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    data = open_data(f"hf:{tmp_path / 'one'}:image=img")
    for index, said in enumerate(("lies outside the folder", "lies outside the folder", "PostScript")):
        with pytest.raises(UnreadableSample, match=said):
            data.image(index)
    state["_data_files"] = [{"filename": "../one/data-00000-of-00001.arrow"}]
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"state.json names .*which is no file of its own folder"):
        open_data(f"hf:{tmp_path / 'one'}")


def test_nothing_is_fetched_unless_asked_for(library, tmp_path: Path, monkeypatch) -> None:
    asked: list[Any] = []

    def load_dataset(*given: Any, **options: Any) -> Any:
        asked.append((given, options))
        return rows(library)

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"There is no folder 'org/data'.*hf:org/data:hub=yes"):
        open_data("hf:org/data")
    (tmp_path / "photos" / "dog").mkdir(parents=True)
    with pytest.raises(InputError, match=r"For photos in one folder per class give folder:"):
        open_data(f"hf:{tmp_path / 'photos'}")
    assert not asked
    assert open_data("hf:org/data:hub=yes,split=validation").class_names == ("fire truck", "dog")
    assert asked == [(("org/data", None), {"split": "validation"})]
    with pytest.raises(InputError, match=r"is no name of the Hugging Face hub"):
        open_data("hf:../../etc:hub=yes")
    with pytest.raises(InputError, match=r"write hub=yes"):
        open_data("hf:org/data:hub=maybe")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (None, r"pip install art-multimodal\[datasets\]"),
        # What Python makes of a folder of that name.
        (types.ModuleType("datasets"), r"pip install art-multimodal\[datasets\]"),
        (types.SimpleNamespace(__version__="3.6.0"), r"datasets 3.6.0 may run scripts .* Install version 4 or later"),
    ],
)
def test_a_library_that_is_missing_or_would_run_scripts(monkeypatch, tmp_path: Path, module: Any, said: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(InputError, match=said):
        open_data(f"hf:{tmp_path}")
