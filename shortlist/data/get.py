"""Public data sets from their own homes, where the terms allow to fetch them: checked, then written as the files that the
loader of the same name reads.

MovieLens may be used for research and not be passed on, so it comes from GroupLens or not at all; see the README in the
archive, which stays beside the tables. The checksums are the MD5 sums that GroupLens publishes next to the archives.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from shortlist.core.contracts import silent
from shortlist.core.errors import DataError, choices

CHUNK = 1 << 20
PATIENCE = 30.0  # seconds without a byte before a connection counts as dead
MOST = 1 << 28  # bytes of one archive member, unpacked: more is not the file that was meant
FEW = 5  # ratings below which SASRec and its successors leave a film out
OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)

Progress = Callable[..., Iterable[Any]]
Unpack = Callable[[zipfile.ZipFile], dict[str, pl.DataFrame]]


@dataclass(frozen=True)
class Home:
    """Where an archive lives, its published MD5 sum, and how to turn it into tables."""

    url: str
    md5: str
    unpack: Unpack
    readme: str

    @property
    def file(self) -> str:
        """The archive's own name."""
        return self.url.rpartition("/")[2]


def get(name: str, folder: Path, progress: Progress = silent) -> list[str]:
    """Fetch a set into a folder: the names of the files that are there afterwards. An archive that lies in the folder
    already is used instead of the network. progress: see `core.contracts.silent`.

    DataError: unknown name, no network, wrong checksum, damaged archive. No half-written file is left behind.
    """
    if name not in HOMES:
        raise DataError(
            f"{name!r} cannot be fetched; choices: {choices(HOMES)}; for other sets see their loader's text"
        )
    home = HOMES[name]
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / home.file
    own = archive.exists()
    if not own:
        _download(home, archive, progress)
    elif _sum(archive) != home.md5:
        raise DataError(
            f"{archive}: not the published file: its MD5 is {_sum(archive)}, expected {home.md5}; remove it"
        )
    written = []
    try:
        with zipfile.ZipFile(archive) as opened:
            tables = home.unpack(opened)
            readme = _member(opened, home.readme)
    except (zipfile.BadZipFile, KeyError, pl.exceptions.PolarsError, ValueError) as error:
        raise DataError(f"{archive}: not the expected archive: {error}") from None
    for stem, table in tables.items():
        path = folder / f"{stem}.parquet"
        part = path.with_suffix(".part")
        table.write_parquet(part)
        part.replace(path)
        written.append(path.name)
    (folder / "README").write_bytes(readme)
    if not own:
        archive.unlink()
    return [*written, "README"]


def _download(home: Home, archive: Path, progress: Progress) -> None:
    """The archive under a temporary name; renamed once its sum is right."""
    part = archive.with_name(archive.name + ".part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(home.url, timeout=PATIENCE) as answer, part.open("wb") as file:
            length = answer.headers.get("Content-Length")
            total = -(-int(length) // CHUNK) if length else None
            for chunk in progress(_chunks(answer), f"fetch {home.file} (MiB)", total):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != home.md5:
            raise DataError(
                f"{home.url}: what came has MD5 {digest.hexdigest()}, expected {home.md5}; nothing was kept"
            )
        part.replace(archive)
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DataError(
            f"cannot reach {home.url} ({reason}); download it yourself from there into {archive.parent} and run this again"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _chunks(stream: BinaryIO | http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MOST:
        raise ValueError(f"{name} is larger than {MOST} bytes")
    return archive.read(name)


def _split(archive: zipfile.ZipFile, name: str, separator: str, columns: list[str]) -> pl.DataFrame:
    """A table of text from lines whose separator may be longer than a character; further fields are dropped."""
    # Not splitlines: in Latin-1 it would also cut at bytes such as 0x85.
    lines = _member(archive, name).decode("latin-1").replace("\r\n", "\n").split("\n")
    fields = pl.DataFrame({"line": [line for line in lines if line]})["line"].str.split(separator)
    return pl.DataFrame({column: fields.list.get(i) for i, column in enumerate(columns)})


def _ratings(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        pl.col("user_id", "item_id").cast(pl.UInt16), pl.col("rating").cast(pl.Int8), pl.col("timestamp").cast(pl.Int64)
    )


def _year(title: str) -> pl.Expr:
    return pl.col(title).str.extract(r"\((\d{4})\)\s*$").cast(pl.UInt16)


def _ml1m(archive: zipfile.ZipFile) -> dict[str, pl.DataFrame]:
    """`::` between fields, Latin-1."""
    ratings = _ratings(_split(archive, "ml-1m/ratings.dat", "::", ["user_id", "item_id", "rating", "timestamp"]))
    items = _split(archive, "ml-1m/movies.dat", "::", ["item_id", "title", "genres"]).select(
        pl.col("item_id").cast(pl.UInt16), "title", _year("title").alias("year"), pl.col("genres").str.split("|")
    )
    users = _split(archive, "ml-1m/users.dat", "::", ["user_id", "gender", "age", "occupation", "zip"])
    users = users.with_columns(pl.col("user_id").cast(pl.UInt16), pl.col("age", "occupation").cast(pl.UInt8))
    users = users.with_columns(occupation_name=pl.Series(OCCUPATIONS).gather(users["occupation"]))
    return {
        "interactions": _positions(ratings),
        "interactions_ts_users_1_2999": ratings.filter(pl.col("user_id") <= 2999).sort(
            "timestamp", maintain_order=True
        ),
        "items": items,
        "users": users,
    }


def _positions(ratings: pl.DataFrame) -> pl.DataFrame:
    """The place of each rating in its user's sequence; null for films that the papers leave out."""
    frequent = pl.len().over("item_id") >= FEW
    order = ratings.with_row_index("row").filter(frequent).sort("user_id", "timestamp", maintain_order=True)
    order = order.select("row", position=pl.int_range(pl.len()).over("user_id").cast(pl.UInt16))
    joined = ratings.with_row_index("row").join(order, on="row", how="left", maintain_order="left").drop("row")
    return joined.with_columns(timestamp_est=pl.col("timestamp"))


def _ml100k(archive: zipfile.ZipFile) -> dict[str, pl.DataFrame]:
    """Tabs in the ratings, bars elsewhere, Latin-1; genres as one flag column each."""
    ratings = _ratings(_split(archive, "ml-100k/u.data", "\t", ["user_id", "item_id", "rating", "timestamp"]))
    genres = _split(archive, "ml-100k/u.genre", "|", ["name"])["name"].to_list()
    head = ["item_id", "title", "released", "video", "url"]
    films = _split(archive, "ml-100k/u.item", "|", [*head, *genres])
    flags = pl.concat_list(pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in genres)
    items = films.select(
        pl.col("item_id").cast(pl.UInt16),
        pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", ""),
        _year("title").alias("year"),
        flags.list.drop_nulls().alias("genres"),
    )
    users = _split(archive, "ml-100k/u.user", "|", ["user_id", "age", "gender", "occupation", "zip"])
    users = users.with_columns(pl.col("user_id").cast(pl.UInt16), pl.col("age").cast(pl.UInt8))
    return {"interactions": ratings, "items": items, "users": users}


_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
HOMES = {
    "ml1m": Home(f"{_GROUPLENS}/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906", _ml1m, "ml-1m/README"),
    "ml100k": Home(f"{_GROUPLENS}/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723", _ml100k, "ml-100k/README"),
}
