"""Damages a packaged dataset, one bit or one file at a time, and looks whether `verify` finds it.

What a damage does to the pixels is found out with zarr-python and tifffile. Every change of a pixel of any level must
be found, with the image named, and the plane wherever it can still be decoded. As a script, on a copy of any dataset:

    python tests/damaging.py DATASET WORK --flips 500
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorstore as ts
import tifffile
import zarr

import catnip2bids
from catnip2bids.verification import ImageVerdict
from runs import images_of, ome

Levels = list[npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Damage:
    """Something that was done to a file of an image, and which planes of which level it changes.

    Attributes
    ----------
    image, what
        The image, and what was done.
    decodes
        Whether the image can still be decoded.
    changed
        Planes that are other ones now, by level.
    """

    image: str
    what: str
    decodes: bool
    changed: dict[int, set[int]]

    @property
    def does_harm(self) -> bool:
        """Whether a pixel is not what it was, or cannot be told any more."""
        return not self.decodes or bool(self.changed)


def decode(image: Path) -> Levels | None:
    """Decode all levels of an image; None where that is not possible."""
    try:
        if image.is_dir():
            return [_zarr_level(image / level["path"]) for level in ome(image)["multiscales"][0]["datasets"]]
        with tifffile.TiffFile(image) as tiff:
            pages = list(tiff.pages)
            decoded = [[page.asarray()] + [sub.asarray() for sub in page.aspage().pages or ()] for page in pages]
            stacks = [np.stack(planes) for planes in zip(*decoded, strict=True)]
            if len({plane.dtype for planes in decoded for plane in planes}) > 1:
                return None  # no volume any more
            return [stack.astype(stack.dtype.newbyteorder("=")) for stack in stacks]
    except Exception:  # a damaged file makes libraries raise errors of many types
        return None


def _zarr_level(path: Path) -> npt.NDArray[np.generic]:
    return np.asarray(zarr.open_array(path, mode="r")[...])


def is_refused_by_others(image: Path) -> bool:
    """Tell whether tensorstore, which is stricter than zarr-python in places, cannot decode an OME-Zarr image."""
    try:
        for level in ome(image)["multiscales"][0]["datasets"]:
            path = image / level["path"]
            driver = "zarr3" if (path / "zarr.json").is_file() else "zarr"
            spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
            ts.open(spec, context=ts.Context({"cache_pool": {"total_bytes_limit": 0}})).result().read().result()
    except Exception:  # whatever it is
        return True
    return False


def changed_planes(before: Levels, after: Levels) -> dict[int, set[int]]:
    """List the planes of each level in which a bit differs."""
    if len(before) != len(after):
        return {level: set(range(len(planes))) for level, planes in enumerate(before)}
    changed = {}
    for level, (one, two) in enumerate(zip(before, after, strict=True)):
        if (one.shape, one.dtype) != (two.shape, two.dtype):
            changed[level] = set(range(len(one)))
        else:
            differ = (np.ascontiguousarray(one).view("u1") != np.ascontiguousarray(two).view("u1")).any(axis=(1, 2))
            if differ.any():
                changed[level] = {int(n) for n in np.flatnonzero(differ)}
    return changed


def files_of_image(image: Path) -> list[Path]:
    """List the files of an image."""
    return sorted(path for path in image.rglob("*") if path.is_file()) if image.is_dir() else [image]


@contextmanager
def kept(path: Path) -> Iterator[bytes]:
    """Give a file its content back at the end."""
    content = path.read_bytes()
    try:
        yield content
    finally:
        path.write_bytes(content)


class Damager:
    """Damages images of one dataset."""

    def __init__(self, dataset: Path, seed: int = 0) -> None:
        self.dataset, self.chance = dataset, random.Random(seed)
        self.images = {image: decoded for image in sorted(images_of(dataset)) if (decoded := decode(dataset / image))}
        if self.images.keys() != images_of(dataset):
            raise AssertionError("some images cannot be decoded before anything was done to them")

    def flips(self, n: int) -> Iterator[tuple[Damage, list[str]]]:
        """Flip so many bits, one at a time; yields what that did, and what is wrong with what `verify` says."""
        files = [(image, file) for image in self.images for file in files_of_image(self.dataset / image)]
        sizes = [file.stat().st_size for _, file in files]
        for image, file in self.chance.choices(files, sizes, k=n):
            with kept(file) as content:
                at, bit = self.chance.randrange(len(content)), self.chance.randrange(8)
                flipped = bytearray(content)
                flipped[at] ^= 1 << bit
                file.write_bytes(flipped)
                name = file.relative_to(self.dataset / image).as_posix() if file.name != Path(image).name else ""
                yield self._looked_at(image, f"bit {bit} of byte {at} of {name or 'the file'}")

    def files(self, every: int = 1) -> Iterator[tuple[Damage, list[str]]]:
        """Delete and truncate files of images, and swap images; of only some images, if it is to be quick."""
        for image in list(self.images)[::every]:
            files = files_of_image(self.dataset / image)
            for file in self.chance.sample(files, min(3, len(files))):
                with kept(file) as content:
                    file.unlink()
                    yield self._looked_at(image, f"{file.name} deleted")
                    file.write_bytes(content[: self.chance.randrange(len(content))])
                    yield self._looked_at(image, f"{file.name} truncated")
        yield from self._swapped(list(self.images)[::every])

    def _swapped(self, images: list[str]) -> Iterator[tuple[Damage, list[str]]]:
        for one in images:
            other = self.chance.choice(sorted(self.images.keys() - {one}))
            aside = "aside"
            for source, target in ((one, aside), (other, one), (aside, other)):
                (self.dataset / source).rename(self.dataset / target)
            yield self._looked_at(one, f"swapped with {Path(other).name}")
            for source, target in ((other, aside), (one, other), (aside, one)):
                (self.dataset / source).rename(self.dataset / target)

    def _looked_at(self, image: str, what: str) -> tuple[Damage, list[str]]:
        after = decode(self.dataset / image)
        changed = {} if after is None else changed_planes(self.images[image], after)
        damage = Damage(image, what, after is not None, changed)
        return damage, list(self._missed(damage))

    def _missed(self, damage: Damage) -> Iterator[str]:
        """Say what `verify` should have said."""
        found = catnip2bids.verify(self.dataset)
        verdict = next(verdict for verdict in found.images if verdict.image == damage.image)
        named = not verdict.ok or any(problem.file.startswith(damage.image) for problem in found.file_problems)
        if damage.does_harm and (found.ok or not named):
            yield "not found"
        image = self.dataset / damage.image
        if (
            found.ok
            and image.is_dir()
            and is_refused_by_others(image)
            and catnip2bids.verify(self.dataset, deep=True).ok
        ):
            yield "refused by tensorstore, and not found with a second reader"
        unnamed = {level: planes - _named_planes(verdict, level) for level, planes in damage.changed.items()}
        if damage.decodes and not _refused(verdict) and any(unnamed.values()):
            yield f"planes not named: {unnamed}"


def _named_planes(verdict: ImageVerdict, level: int) -> set[int]:
    return {plane for problem in verdict.problems if problem.level == level for plane in problem.planes}


def _refused(verdict: ImageVerdict) -> bool:
    """Tell whether the image was not read at all, because it is not even of the shape and type that it was."""
    return verdict.n_planes == 0 or any(problem.level is None for problem in verdict.problems)


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path, help="where a copy of it is damaged")
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    copy = given.work / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(given.dataset, copy)
    damager, n_missed = Damager(copy, given.seed), 0
    for kind, damages in (("single bits", damager.flips(given.flips)), ("files", damager.files())):
        outcomes = Counter[str]()
        for damage, missed in damages:
            outcome = "cannot be decoded" if not damage.decodes else "changes pixels" if damage.changed else "harmless"
            outcomes[f"{outcome}: {'; '.join(missed) or 'as it must be'}"] += 1
            if missed:
                n_missed += 1
                sys.stdout.write(f"{damage.image}: {damage.what}: {'; '.join(missed)}\n")
        sys.stdout.write("".join(f"{kind}: {n} {outcome}\n" for outcome, n in sorted(outcomes.items())))
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())
