"""Writes the real rows that the vector cases search: 134 196 overlapping 6 x 6 colour patches of the two
photographs in scikit-learn, 108 float32 each, then 1 000 queries from the positions between."""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_sample_images

PATCH = 6
QUERIES = 1_000


def windows(image: np.ndarray, first: int) -> np.ndarray:
    """All patches whose corner lies at an even (first = 0) or odd (first = 1) position."""
    view = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH, 3))
    return view[first::2, first::2, 0].reshape(-1, PATCH * PATCH * 3)


def main() -> None:
    images = [np.asarray(image, np.float32) / 255 for image in load_sample_images().images]
    rows = np.concatenate([windows(image, 0) for image in images])
    between = np.concatenate([windows(image, 1) for image in images])
    queries = between[np.random.default_rng(7).choice(len(between), QUERIES, replace=False)]
    with open(sys.argv[1], "wb") as out:
        np.array([len(rows), len(queries), rows.shape[1]], np.uint64).tofile(out)
        rows.tofile(out)
        queries.tofile(out)


if __name__ == "__main__":
    main()
