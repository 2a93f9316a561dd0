"""Input that a user may well give and that is wrong: a message, exit code 2, and nothing touched.

Every case goes through the real ``main``. The folder that holds the inputs is hashed before and after, and
a run that began to train would fail the test.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.commands import Ended, contents, refused, tunebench
from thorough import mostly_thorough
from tunebench.data.load import load_dataset
from tunebench.data.reference import DataConfig
from tunebench.errors import TunebenchError

ROWS = "".join(f"a film of number {i},{'pos' if i % 2 else 'neg'}\n" for i in range(60))
LONG, HUGE = "x" * 5000, "9" * 5000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Iterator[Path]:
    """A working directory with a good study in it; training, and asking the Hub, are errors."""
    root = tmp_path_factory.mktemp("bad")
    (root / "good.csv").write_text("text,label\n" + ROWS)
    study = {"model": str(tiny_model("bert")), "data": "good.csv", "strategies": ["full"]}
    (root / "good.yaml").write_text(json.dumps(study | {"train_sizes": [30], "max_length": 16}))
    shutil.copytree(Path(__file__).parents[2] / "docs" / "results" / "quickstart", root / "done")

    def never(*args: object, **options: object) -> None:
        raise AssertionError("training began")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("TUNEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("tunebench.training.registry.run_one", never)
        yield root


@pytest.fixture(scope="module")
def untouched(place: Path) -> dict[str, str]:
    """What the folder holds, now and after every test."""
    return contents(place)


@pytest.fixture
def refuses(place: Path, untouched: dict[str, str]) -> Callable[..., Ended]:
    """Return a function that runs a command which has to be refused, and looks at the folder afterwards."""

    def check(*args: object, words: tuple[str, ...] = ()) -> Ended:
        ended = tunebench(*args)
        assert (problem := refused(ended, words)) == "", problem
        assert contents(place) == untouched
        return ended

    return check


def test_the_good_study_is_accepted(place: Path) -> None:
    before = contents(place)
    ended = tunebench("run", "good.yaml", "--dry-run", "--no-measure", "--json")
    assert (ended.code, ended.crash) == (0, "")
    assert contents(place) == before


# Data files -------------------------------------------------------------------------------------------------


def _lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _jsonl(label: str, text: str = '"a"') -> bytes:
    return f'{{"text":{text},"label":{label}}}\n{{"text":"b","label":0}}\n'.encode() * 30


DATA: dict[str, bytes] = {
    "latin1.csv": "text,label\ncaf\xe9,pos\n".encode("latin-1"),
    "cut-utf16.csv": ("text,label\n" + ROWS).encode("utf-16")[:-1],
    "empty.csv": b"",
    "blank.csv": b"\n\n\n",
    "only-header.csv": b"text,label\n",
    "no-label.csv": _lines("text,foo", "a,b", "c,d"),
    "no-text.csv": _lines("foo,label", "a,b", "c,d"),
    "column-twice.csv": _lines("text,text,label", "a,b,c"),
    "two-text-columns.csv": _lines("text,review,label", "a,b,c", "d,e,f"),
    "one-class.csv": _lines("text,label", *["a,pos"] * 40),
    "too-few-fields.csv": _lines("text,label", "a,pos", "b"),
    "too-many-fields.csv": _lines("text,label", "a,pos,x"),
    "open-quote.csv": b'text,label\n"a,pos\n',
    "empty-text.csv": _lines("text,label", ",pos", "a,neg"),
    "empty-label.csv": _lines("text,label", "a,", "b,neg"),
    "all-bytes.csv": bytes(range(256)) * 20,
    "zip.csv": b"PK\x03\x04" + bytes(100),
    "gzip.csv": b"\x1f\x8b\x08" + bytes(50),
    "ids-as-labels.csv": _lines("text,label", *[f"t{i},{i}" for i in range(30)]),
    "tiny.csv": _lines("text,label", "a,pos", "b,neg"),
    "one-line-labels.csv": b"text,label\n" + b'a,"two\nlines"\nb,neg\n' * 30,
    "long-labels.csv": _lines("text,label", *[f"a,{'p' * 100_000}", "b,neg"] * 3),
    "utf16-and-utf8.tsv": "text\tlabel\n".encode("utf-16") + ROWS.replace(",", "\t").encode(),
    "cut.jsonl": b'{"text":"a","label":1}\n{"text":',
    "list.jsonl": b"[1,2]\n",
    "nan-label.jsonl": _jsonl("NaN"),
    "infinite-label.jsonl": _jsonl("1e999"),
    "fraction-label.jsonl": _jsonl("0.5"),
    "null-label.jsonl": _jsonl("null"),
    "list-label.jsonl": _jsonl("[1]"),
    "mixed-label.jsonl": _jsonl('"x"'),
    "huge-label.jsonl": _jsonl(HUGE),
    "surrogate-label.jsonl": b'{"text":"a","label":"\\ud800"}\n{"text":"b","label":"x"}\n' * 30,
    "control-label.jsonl": b'{"text":"a","label":"\\u0000"}\n{"text":"b","label":"x"}\n' * 30,
    "nan-text.jsonl": _jsonl("1", "NaN"),
    "null-text.jsonl": _jsonl("1", "null"),
    "number-text.jsonl": _jsonl("1", "5"),
    "list-text.jsonl": _jsonl("1", '["a"]'),
    "surrogate-text.jsonl": _jsonl("1", '"\\ud800"'),
    "surrogate-column.jsonl": b'{"\\ud800":"a","label":"x"}\n{"\\ud800":"b","label":"y"}\n' * 30,
    "deep.jsonl": b"[" * 100_000,
    "blank.jsonl": b"\n\n",
    "junk.parquet": b"PAR1junkPAR1",
    "empty.parquet": b"",
    "book.xlsx": b"PK",
    "list.json": b"[]",
    "plain.txt": b"a",
    "no-ending": b"a",
}
PARQUET: dict[str, dict[str, Any]] = {
    "bytes.parquet": {"text": [b"\xff\xfe"] * 30, "label": [0, 1] * 15},
    "no-labels.parquet": {"text": ["a"] * 30, "label": [None] * 30},
    "lists.parquet": {"text": [["a"]] * 30, "label": [[0]] * 30},
    "nan.parquet": {"text": ["a", "b"] * 15, "label": [0.0, math.nan] * 15},
    "none.parquet": {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())},
    "structs.parquet": {"text": ["a", "b"] * 15, "label": [{"x": 1}, {"x": 2}] * 15},
}


@pytest.mark.parametrize("name", [*DATA, *PARQUET])
def test_data_that_cannot_carry_a_study(name: str, tmp_path: Path, refuses: Callable[..., Ended]) -> None:
    file = tmp_path / name
    if name in DATA:
        file.write_bytes(DATA[name])
    else:
        pq.write_table(pa.table(PARQUET[name]), file)
    refuses("run", "good.yaml", "--data", file, "--out", "new")
    if name != "tiny.csv":  # an audit says what is in it
        refuses("data", "audit", file, "--model", json.loads(Path("good.yaml").read_text())["model"])


#: Settings of parts that ``parts.csv`` cannot give, and words of the one message.
PARTS_SETTINGS = {
    "data.split_column=odd": ("of 60 rows have a value in 'odd' that names no part", "'holdout': 20"),
    "data.split_column=one": ("says train of every row",),
    "data.group_column=one": ("too few groups", "1 group in 60 rows"),
    "data.group_column=label": ("is the column of labels",),
    "data.group_column=gaps": ("rows have no group in 'gaps' (row 3)",),
    "data.time_column=odd": ("60 of 60 times in 'odd' cannot be read", "ISO dates"),
    "data.time_column=gaps": ("times in 'gaps' cannot be read (row 3)",),
}


@pytest.mark.parametrize("setting", PARTS_SETTINGS)
def test_parts_that_the_data_cannot_give(setting: str, tmp_path: Path, refuses: Callable[..., Ended]) -> None:
    file = tmp_path / "parts.csv"
    odd, label = ("train", "test", "holdout"), ("neg", "pos")
    rows = [f"a film of number {i},{label[i % 2]},{odd[i % 3]},train,{i}" for i in range(60)]
    rows[2] = rows[2].removesuffix("2")
    file.write_text("\n".join(["text,label,odd,one,gaps", *rows]) + "\n")
    refuses("run", "good.yaml", "--data", file, "--out", "new", "--set", setting, words=PARTS_SETTINGS[setting])


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ending=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
    start=st.sampled_from([b"", b"text,label\n", b"text\tlabel\n", b'{"text":"a","label":1}\n', b"PAR1"]),
    body=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
def test_any_bytes_are_data_or_refused(place: Path, ending: str, start: bytes, body: bytes) -> None:
    file = place.parent / f"{place.name}-any{ending}"
    file.write_bytes(start + body)
    with contextlib.suppress(TunebenchError):  # the command line shows it, as with the files above
        assert len(load_dataset(DataConfig(source=str(file))).train) > 0


# Studies ----------------------------------------------------------------------------------------------------

SETTINGS = [
    "epochs", "=1", "epochs=", "epochs=[", "epochs=0", "epochs=1.5", "epochs=yes", "epochs=.nan", "epochs=-.inf",
    "epochs=!!int abc", "epochs=!!float x", "epochs=!!bool x", "epochs=!!null x", "epochs=!!timestamp x",
    "epochs=!!binary é", "epochs=!!omap [a]", "epochs=!!pairs x", "epochs=!!set {a}", "epochs=!new x",
    "epochs=!!python/object/apply:os.system ['touch pwned']", "epochs=!!python/name:os.system",
    "epochs=2001-13-45", "epochs=0b", "epochs=0x10000", "epochs=1:2:3x", f"epochs={HUGE}", "epochs=1e99999",
    "epochs=*a", "epochs=&a [*a]", "epochs=&a {b: *a}", "epochs={<<: 3}", "epochs={[1]: 2}", "epochs={a: 1, a: 2}",
    "epochs=" + "[" * 900, "epochs=" + "{a: " * 900, "epochs=" + "[" * 60 + "]" * 60, "epochs=a\x00b",
    "epochs.x=1", ".=1", "..=1", "a.b.c=1", "nonsense=1", "1=2", "\ud800=1", "description=\ud800",
    "description=[1]", "name=../../x", "name=a/b", "name=...", "name=", "name=.hidden", f"name={LONG}",
    "model=", "model=3", "model=[a]", "model=nope", "model=good.csv", "model=.", f"model={LONG}", "model=a\\0b",
    "model=~nobody-at-all/x", "model=/proc/self/mem", "model=http://x/y/z", "model_revision=main",
    "data=", "data=3", "data=[1]", "data={}", "data.source=", "data.source=nope", f"data.source={LONG}",
    "data.source=~nobody-at-all/x", "data.text_column=5", "data.text_column=nope", "data.label_column=text",
    "data.revision=main", "data.subset=x", "data.x=1", "data.source.x=1",
    "data.split_column=nope", "data.split_column=label", "data.group_column=nope", "data.group_column=text",
    "data.time_column=nope", "data.time_column=label", "data.validation=own", "data.validation=mine",
    "test_limit=1",
    "strategies=", "strategies=[]", "strategies=[full, full]", "strategies=[[a]]", "strategies=[{a: b}]",
    "strategies={1: null}", "strategies=full", "strategies.full=1", "strategies.full.rank=1", "strategies.x=null",
    "strategies.../x=null", "strategies={../../x: {kind: full}}", "strategies={a b: {kind: full}}",
    "strategies.full.learning_rate=0", "strategies.full.learning_rate=-1", "strategies.full.learning_rate=11",
    "strategies.full.learning_rate=[]", "strategies.full.learning_rate=[[1]]", "strategies.full.learning_rate=.nan",
    "strategies.full.learning_rate={1: 2}", "strategies.full.learning_rate={multiples_of: 1, values: [a]}",
    "strategies.full.learning_rate={multiples_of: [1], values: [{}]}",
    "strategies.full.learning_rate={multiples_of: 1e300, values: [1e300]}",
    f"strategies.full.learning_rate={{multiples_of: {'9' * 400}, values: [1]}}",
    "strategies.lora.rank=0", "strategies.lora.rank=99999999999", "strategies.lora.placement=x",
    "strategies.lora.dropout=1", "strategies.full.trust_remote_code=true", "strategies.full.target_modules=[a]",
    "trust_remote_code=true", "data.trust_remote_code=true", "model.trust_remote_code=true", "auto_map={a: b}",
    "train_sizes=[]", "train_sizes=[0]", "train_sizes=[1000000]", "train_sizes=[30, 30]", "train_sizes=[all, all]",
    "train_sizes=[some]", "train_sizes=30", "train_sizes=[2]", "train_sizes=[1e400]",
    "test_size=1000000", "test_size=1", "validation_fraction=0.99", "validation_fraction=0", "selection=best",
    "seeds=[]", "seeds=[1, 1]", "seeds=[-1]", "seeds=[99999999999]", "seeds=[1.5]", "seeds={}", "seeds=[true]",
    "subset_seed=[]", "subset_seed=-1", "batch_size=0", "batch_size=1e9", "max_length=3", "max_length=8192000",
    "weight_decay=1", "warmup_ratio=-1", "schedule=x", "precision=fp8", "engine=c", "optimizer=sgd",
    "attention_dropout=1", "label_smoothing=2", "truncation=middle", "head_share=0.5", "margin=0", "margin=.nan",
    "pairs=[[a, b]]", "pairs=[[full, full]]", "pairs=[[full]]", "pairs=full", "search.method=x", "search=x",
    "search={method: halving, reduction: 1}", "evaluations_per_epoch=0", "learning_rate=1",
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda text: text[:40].encode("ascii", "replace").decode())
def test_settings(setting: str, refuses: Callable[..., Ended]) -> None:
    refuses("run", "good.yaml", "--out", "new", "--set", setting)


def test_aliases_that_grow_without_bounds_are_refused(tmp_path: Path, refuses: Callable[..., Ended]) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 15))]
    wide = ["b0: &b0 [" + "x, " * 400 + "]", "b1: &b1 [" + "*b0, " * 400 + "]"]
    for number, text in enumerate(("\n".join([*lines, "a15: [*a14, *a14, *a14, *a14]"]), "\n".join(wide))):
        bomb = tmp_path / f"bomb{number}.yaml"
        bomb.write_text(text)
        refuses("run", bomb, words=("aliases",))


#: Values of the right type almost everywhere, and of the wrong one somewhere.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=ANYTHING, key=st.sampled_from(["strategies", "data", "train_sizes", "search", "pairs", "seeds", "name"]))
def test_any_value_under_a_key_is_checked_without_a_crash(place: Path, raw: Any, key: str) -> None:
    study = json.loads((place / "good.yaml").read_text()) | {key: raw, "model": "/nope"}
    file = place.parent / f"{place.name}-any.yaml"
    file.write_text(json.dumps(study))
    ended = tunebench("run", file, "--out", "new")  # the model is never there
    assert (problem := refused(ended)) == "", problem
    assert not Path("new").exists()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>%@`'\"#\n ,?1.\t", max_size=80).map(str.encode))
def test_any_file_is_no_study(place: Path, raw: bytes) -> None:
    file = place.parent / f"{place.name}-raw.yaml"
    file.write_bytes(raw)
    assert (problem := refused(tunebench("run", file, "--out", "new"))) == "", problem


# Command lines ----------------------------------------------------------------------------------------------

COMMANDS = """
nonsense
--nonsense
run
run nope
run good.csv
run good.yaml extra
run good.yaml --nonsense
run good.yaml --out
run good.yaml --set
run good.yaml --threads 0
run good.yaml --threads x
run good.yaml --threads 1e3
run good.yaml --threads 99999999999999999999
run good.yaml --workers 0
run good.yaml --workers -1
run good.yaml --workers 99999999999999999999
run good.yaml --budget x
run good.yaml --budget -3h
run good.yaml --budget 0s
run good.yaml --budget 3
run good.yaml --prefix-cache x
run good.yaml --prefix-cache 0GB
run good.yaml --prefix-cache -1GB
run good.yaml --device tpu
run good.yaml --device cuda
run good.yaml --device mps
run good.yaml --model nope
run good.yaml --model good.csv
run good.yaml --data nope
run good.yaml --data /dev/null
run good.yaml --data ~nobody-at-all
run good.yaml --out done
run good.yaml --out good.yaml
run good.yaml --out good.yaml/x
run good.yaml --out /proc/nope/x
run good.yaml --out /dev/null/x
status
status nope
status good.yaml
status .
results
results nope
results good.csv
results done --nonsense
tables nope
tables done nope
tables done --format xml
recommend nope
recommend done --prefer x
recommend done --margin -1
recommend done --margin nan
recommend done --margin inf
recommend done --margin x
recommend done --size 7
recommend done --size x
report
report nope
report good.yaml
report done extra
presets extra
strategies nope
strategies --model nope
strategies --model .
strategies --model good.csv
version extra
doctor extra
bench --seconds 0
bench --seconds x
bench --model nope
bench --prefix --model nope
bench --profile --model nope
bench --attention-dropout 2
data nope
data audit
data audit nope
data audit ./empty
data audit good.csv --model nope
data audit good.csv --max-length 3
data audit good.csv --text-column nope
data audit good.csv --label-column text
data audit good.csv --label-column text --text-column text
export
export done
export nope --out new
export good.csv --out new
export done --out new
export done --out done
export done --out good.yaml
export done --out new --format x
export done --out new --run x
export done --out new --run ../../etc
export done --out new --push a/b/c
export done --out new --push ..
export done --out new --dry-run
predict
predict nope x
predict done
predict done x
predict . x
predict done --csv nope.csv
predict done x --csv good.csv
predict done x --format xml
predict done x --precision int4
predict done x --threads 0
predict done x --column c
import
import nope
import done --out new
import nope --out new
import good.csv --out new
import . --out new
import done --out done
import done --out new --set x
import done --out new --set nope:seed=1
import done --out new --set seed=-1
"""
LINES = [line for line in COMMANDS.splitlines() if line]


@pytest.mark.parametrize("line", LINES)
def test_command_lines(line: str, refuses: Callable[..., Ended]) -> None:
    refuses(*line.split())


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "0"])
@pytest.mark.parametrize("option", ["--budget={}h", "--prefix-cache={}GB"])
def test_amounts_beyond_all_bounds(number: str, option: str, refuses: Callable[..., Ended]) -> None:
    refuses("run", "good.yaml", "--out", "new", option.format(number))


NAMES = ["\x00", "a\x00b", LONG, "", " ", "\ud800", "é/ü", "a/../../b", "-", "a b"]
TAKING = [
    "run {}", "run good.yaml --model={}", "run good.yaml --data={}", "status {}", "results {}", "tables {}",
    "report {}", "recommend {}", "predict {} x", "export {} --out new", "import {} --out new",
    "data audit {}", "strategies {}", "strategies --model={}",
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "name"),
    mostly_thorough(
        itertools.product(TAKING, NAMES),
        keep=lambda case: case[0] in ("run {}", "run good.yaml --model={}") or case[1] in ("\x00", LONG, "\ud800"),
    ),
)
def test_names_that_no_file_has(command: str, name: str, refuses: Callable[..., Ended]) -> None:
    refuses(*[part.format(name) for part in command.split()])


def test_the_number_of_cases() -> None:
    """Issue 8 asks for two hundred."""
    assert len(DATA) + len(PARQUET) + len(SETTINGS) + len(LINES) >= 200
