"""A suite on disk: its file, its index, why data sets failed, and a folder with an ordinary study for each."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, StringConstraints, ValidationError

from tunebench.errors import StoreError
from tunebench.files import read_json, remove_abandoned, write_json, write_text
from tunebench.schema import Part
from tunebench.store.output_folder import refuse_file, refuse_others, writing
from tunebench.store.record import Failure, now
from tunebench.store.study_folder import StudyStore
from tunebench.study.suite import NAME, Suite
from tunebench.study.yaml_file import read_study

#: Name of a data set as it is read back: it becomes a part of a path.
_Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
#: A training size as the suite states it: a number as text, or ``all``.
_Size = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,12}|all)$")]


class Member(Part):
    """A data set of a suite.

    Attributes:
        sizes: Labels that each stated training size comes to.
        left_out: Why a stated training size is left out.
    """

    name: _Name
    sizes: dict[_Size, int]
    left_out: dict[_Size, str] = Field(default_factory=dict)


class SuiteIndex(Part):
    """What a suite's folder holds."""

    schema_version: int = Field(default=1, ge=1, le=1)
    name: _Name
    description: str = ""
    data_sets: list[Member] = Field(min_length=1)

    def member(self, name: str) -> Member | None:
        """Return a data set; None where the suite has none of this name."""
        return next((one for one in self.data_sets if one.name == name), None)


class DataSetFailure(Part):
    """Why the study of a data set did not end."""

    time: str
    error: Failure


class SuiteStore:
    """A suite's folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite_file = folder / "suite.yaml"
        self.index_file = folder / "suite.json"
        self._studies = folder / "studies"
        self._failures = folder / "failures"

    @property
    def there(self) -> bool:
        """Whether the folder holds a suite."""
        return self.index_file.exists()

    def study_folder(self, name: str) -> Path:
        """Return the folder of a data set's study."""
        return self._studies / name

    def index(self) -> SuiteIndex:
        """Return what the folder holds.

        Raises:
            StoreError: There is no suite, or its index is damaged.
        """
        if not self.there:
            raise StoreError(
                "There is no suite in this folder.",
                value=str(self.folder),
                fix="tunebench run SUITE.yaml --out FOLDER makes one",
            )
        try:
            return SuiteIndex.model_validate(read_json(self.index_file))
        except ValidationError as error:
            raise StoreError(
                f"The index of the suite is damaged: {error.errors()[0]['msg']}",
                value=str(self.index_file),
                fix="tunebench run SUITE.yaml --out FOLDER writes it again",
            ) from None

    def studies(self) -> dict[str, Path]:
        """Return the folders of the studies that were begun, by data set."""
        folders = {member.name: self.study_folder(member.name) for member in self.index().data_sets}
        return {name: folder for name, folder in folders.items() if StudyStore(folder).plan_file.exists()}

    def check(self) -> None:
        """Check that a suite may go into the folder, writing nothing.

        Raises:
            StoreError: The folder holds something else.
        """
        refuse_file(self.folder)
        if self.there or not self.folder.exists():
            return
        others = [path.name for path in self.folder.iterdir() if path not in (self.suite_file, self._studies)]
        refuse_others(self.folder, others, kind="suite")

    def create(self, suite: Suite, members: Sequence[Member]) -> list[str]:
        """Write file and index of a suite.

        Returns:
            Names of data sets that the folder has besides; they stay in it.

        Raises:
            StoreError: The folder cannot be written.
        """
        new = {member.name for member in members}
        kept = [member for member in (self.index().data_sets if self.there else []) if member.name not in new]
        entries = {entry["name"]: entry for entry in self._entries()}
        data = [*suite.raw["data"], *(entries[member.name] for member in kept if member.name in entries)]
        index = SuiteIndex(name=suite.name, description=suite.description, data_sets=[*members, *kept])
        with writing(self.folder):
            remove_abandoned(self.folder)
            text = yaml.safe_dump({**suite.raw, "data": data}, sort_keys=False, allow_unicode=True)
            write_text(self.suite_file, text)
            write_json(self.index_file, index.model_dump(mode="json"))
        return [member.name for member in kept]

    def _entries(self) -> list[dict[str, Any]]:
        """Return the data sets of the stored file, as it has them."""
        if not self.suite_file.exists():
            return []
        stored = read_study(str(self.suite_file)).get("data")
        found = stored if isinstance(stored, list) else []
        return [entry for entry in found if isinstance(entry, dict) and "name" in entry]

    def fail(self, name: str, error: Exception) -> None:
        """Write down why a data set's study did not end."""
        failure = Failure(
            type=type(error).__name__,
            message=str(error) or type(error).__name__,
            traceback="".join(traceback.format_exception(error))[-20_000:],
        )
        found = DataSetFailure(time=now(), error=failure)
        write_json(self._failures / f"{name}.json", found.model_dump(mode="json"))

    def forget_failure(self, name: str) -> None:
        """Remove what :meth:`fail` wrote, as the study has ended since."""
        (self._failures / f"{name}.json").unlink(missing_ok=True)

    def failure(self, name: str) -> Failure | None:
        """Return why a data set's study did not end; None where nothing is written of it.

        Raises:
            StoreError: What is written is damaged.
        """
        path = self._failures / f"{name}.json"
        if not path.exists():
            return None
        try:
            return DataSetFailure.model_validate(read_json(path)).error
        except ValidationError:
            raise StoreError("The record of a failure is damaged.", value=str(path), fix="remove it") from None


def suite_status(store: SuiteStore) -> list[dict[str, Any]]:
    """Return the state of every run of every data set; of one without a study, its own.

    Raises:
        StoreError: Something of the folder is damaged.
    """
    rows: list[dict[str, Any]] = []
    for member in store.index().data_sets:
        failure, own = store.failure(member.name), StudyStore(store.study_folder(member.name))
        if own.plan_file.exists():
            for cell in own.cells():
                found = {"run_id": cell.spec.run_id, "status": cell.status, "error": cell.reason}
                rows.append({"data_set": member.name, **found})
        elif failure is None:
            rows.append({"data_set": member.name, "run_id": None, "status": "not begun", "error": None})
        if failure is not None:
            error = f"{failure.type}: {failure.message}"
            rows.append({"data_set": member.name, "run_id": None, "status": "failed", "error": error})
    return rows
