"""Nearest neighbours: numpy arrays in, numpy arrays out."""

import numpy as np

import ringfence as rf

rng = np.random.default_rng(1)
rows = rng.standard_normal((2_000, 64), dtype=np.float32)

with rf.connect() as client:
    docs = client.vectors.create("example-search", dim=64, metric="cosine", exist_ok=True)
    docs.upsert(range(len(rows)), rows)

    hits = docs.search(rows[7], k=3)
    for number, distance in zip(hits.ids, hits.distances, strict=True):
        print(f"row {number} at distance {distance:.3f}")

    batch = docs.search_batch(rows[:100], k=3)
    print(f"100 queries at once: {batch.ids.shape}, {batch.visited} rows looked at")
    client.vectors.drop("example-search")
