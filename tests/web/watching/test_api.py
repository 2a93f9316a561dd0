"""What the server answers, and that it never writes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunebench.store.study_folder import StudyStore
from tunebench.web.watching.app import create_app
from web.watching.studies import SCRIPT, advance, every_state, fingerprint, make_specs, rewrite

HOST = "http://127.0.0.1:8321"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """A study with a run in every state, one of which is running."""
    store, specs = every_state(tmp_path / "study")
    with store.locked(specs["running"].run_id):
        yield tmp_path / "study"


def client(folder: Path, **options: str) -> TestClient:
    return TestClient(create_app(folder, pause=0, **options), base_url=HOST)  # type: ignore[arg-type]


def ask_everything(api: TestClient) -> list[int]:
    answers = [api.get(path) for path in ("/", "/api/study", "/static/watch.js", "/static/watch.css")]
    ids = answers[1].json()["order"] if answers[1].status_code == 200 else []
    answers += [api.get(f"/api/runs/{run_id}") for run_id in ids]
    return [answer.status_code for answer in answers]


def test_the_page_and_all_runs_are_served(study: Path) -> None:
    assert set(ask_everything(client(study))) == {200}


def test_a_failure_is_told_whole_and_as_plain_text(study: Path) -> None:
    api = client(study)
    row = next(row for row in api.get("/api/study").json()["runs"] if row["reason"] and "script" in row["reason"])
    answer = api.get(f"/api/runs/{row['id']}")
    assert answer.headers["content-type"] == "application/json"
    run = answer.json()
    assert run["error"]["message"] == SCRIPT and SCRIPT in run["error"]["traceback"]
    assert any(SCRIPT in line for line in run["log"])
    assert run["curves"]["loss"]["step"] == list(range(1, 31))
    assert run["curves"]["score"]["step"] == [10, 20, 30]


def test_what_did_not_change_is_not_sent_again(study: Path) -> None:
    api, store = client(study), StudyStore.open(study)
    running = next(row["id"] for row in api.get("/api/study").json()["runs"] if row["state"] == "running")
    spec = next(p.spec for p in store.planned() if p.spec.run_id == running)
    for path in ("/api/study", f"/api/runs/{running}"):
        first = api.get(path)
        known = {"If-None-Match": first.headers["etag"]}
        again = api.get(path, headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert api.get(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'}).status_code == 304
        advance(store, spec, 50 if "runs" not in path else 60)
        changed = api.get(path, headers=known)
        assert changed.status_code == 200 and changed.headers["etag"] != first.headers["etag"]


def test_any_version_to_start_from_is_answered(study: Path) -> None:
    api = client(study)
    first = api.get("/api/study").json()
    instance = first["version"].split("-")[0]
    numbers = ["", "9" * 5_000, "٣", "²", "-1", "1e3", " 1", "0x1", "1_0", "\x00", "9" * 15]
    for since in (*(f"{instance}-{number}" for number in numbers), "-", "", "x" * 5_000):
        answer = api.get("/api/study", params={"since": since})
        assert answer.status_code == 200
        assert answer.json()["whole"] is (since != f"{instance}-{'9' * 15}")


def test_only_ids_of_the_plan_are_answered(study: Path) -> None:
    api = client(study)
    (study.parent / "secret-0123456789abcdef").mkdir()
    (study.parent / "secret-0123456789abcdef" / "run.log").write_text("secret")
    strangers = [
        make_specs(20)[-1].run_id,
        "../secret-0123456789abcdef",
        "..%2Fsecret-0123456789abcdef",
        "%2e%2e%2f%2e%2e%2fsecret-0123456789abcdef",
        "..%5c..%5csecret-0123456789abcdef",
        "%00-0123456789abcdef",
        "plan.json",
        "x" * 5_000,
    ]
    for name in strangers:
        answer = api.get(f"/api/runs/{name}")
        assert answer.status_code == 404 and b"secret" not in answer.content.replace(name.encode(), b"")
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/docs", "/openapi.json"):
        assert api.get(path).status_code == 404


def test_there_is_nothing_but_get(study: Path) -> None:
    api = client(study)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/", "/api/study", f"/api/runs/{make_specs(1)[0].run_id}"):
            assert api.request(method, path, json={}).status_code == 405


def test_the_page_may_load_only_its_own_files(study: Path) -> None:
    for path in ("/", "/api/study", "/static/watch.js", "/nowhere"):
        headers = client(study).get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
    page = client(study).get("/").text
    assert "http:" not in page and "https:" not in page and "//" not in page


def test_on_loopback_other_names_are_refused(study: Path) -> None:
    api = client(study)
    assert api.get("/api/study", headers={"Host": "rebound.example"}).status_code == 400
    for name in ("localhost:8321", "127.0.0.1", "[::1]:99"):
        assert api.get("/api/study", headers={"Host": name}).status_code == 200
    assert client(study, host="0.0.0.0").get("/api/study", headers={"Host": "box.example"}).status_code == 200


def test_with_a_token_everything_needs_it(study: Path) -> None:
    api = client(study, token="right")
    for path in ("/", "/api/study", "/static/watch.js"):
        refused = api.get(path)
        assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic ")
        assert api.get(path, auth=("anyone", "wrong")).status_code == 401
        assert api.get(path, auth=("anyone", "right")).status_code == 200


def test_nothing_in_the_folder_changes(study: Path) -> None:
    before = fingerprint(study)
    api = client(study)
    for _ in range(3):
        ask_everything(api)
    assert fingerprint(study) == before


def test_no_file_of_the_folder_is_ever_opened_for_writing(tmp_path: Path) -> None:
    """In a process that refuses every change below the folder; rights alone do not hold back an administrator."""
    every_state(tmp_path / "study")
    for path in [*tmp_path.rglob("study/**/*"), tmp_path / "study"]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    script = """
import os, sys
folder = os.path.realpath(sys.argv[1])
CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime",
           "os.link", "os.symlink", "os.setxattr", "os.removexattr"}
def hook(event, args):
    places = [str(a) for a in args if isinstance(a, (str, os.PathLike))]
    if not any(os.path.realpath(place).startswith(folder) for place in places):
        return
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in CHANGES:
        os.write(2, f"{event} {args}\\n".encode())
        os._exit(3)
from pathlib import Path
from web.watching.test_api import ask_everything, client
sys.addaudithook(hook)
assert set(ask_everything(client(Path(folder)))) == {200}
if len(sys.argv) > 2:
    open(folder + "/runs/new", "w")
"""
    here = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", script, str(tmp_path / "study")]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    # The guard itself works.
    assert subprocess.run([*command, "write"], env=environment, capture_output=True).returncode == 3
    for path in [tmp_path / "study", *tmp_path.rglob("study/**/*")]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o200)


DAMAGE = {
    "cut": lambda content, share, noise: content[: int(share * len(content))],
    "empty": lambda content, share, noise: b"",
    "list": lambda content, share, noise: b"[]",
    "nan": lambda content, share, noise: content.replace(b"1,", b"NaN,").replace(b"0,", b"Infinity,"),
    "noise": lambda content, share, noise: noise,
    "huge": lambda content, share, noise: content.replace(b"1", b"1" * 400),
    "text": lambda content, share, noise: content.replace(b"1,", b'"1",').replace(b"0.", b"null, 0."),
}
HIT = st.tuples(
    st.integers(0, 10**6), st.sampled_from([*DAMAGE, "gone", "folder"]), st.floats(0, 1), st.binary(max_size=50)
)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HIT, min_size=1, max_size=6))
def test_files_half_written_or_gone_are_never_an_error(
    tmp_path_factory: pytest.TempPathFactory, hits: list[tuple[int, str, float, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "study"
    store, specs = every_state(folder)
    with store.locked(specs["running"].run_id):
        api = client(folder)
        assert set(ask_everything(api)) == {200}
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
        for place, how, share, noise in hits:
            path = files[place % len(files)]
            if not path.is_file():
                continue
            if how in DAMAGE:
                rewrite(path, DAMAGE[how](path.read_bytes(), share, noise))
            else:
                path.unlink()
                if how == "folder":
                    path.mkdir()
            assert set(ask_everything(api)) == {200}


def test_a_record_with_numbers_json_does_not_know_is_answered(study: Path) -> None:
    path = next(study.glob("runs/*/record.json"))
    raw = json.loads(path.read_text())
    raw["scores"] and raw["scores"]["values"].update(macro_f1=float("nan"))
    raw["log_history"][0]["loss"] = float("inf")
    path.write_text(json.dumps(raw))
    assert set(ask_everything(client(study))) == {200}
