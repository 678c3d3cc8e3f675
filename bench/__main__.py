"""`python -m bench [NAME ...]`: run all timings, or those named."""

import os
import platform
import sys

from bench import (
    code_filters,
    embedding,
    generation,
    importing,
    pages,
    paging,
    pairs,
    redaction,
    seed_pages,
    seeds,
    settled,
    substring,
    training,
)

BENCHES = {
    "pairs": pairs.run,
    "substring": substring.run,
    "paging": paging.run,
    "pages": pages.run,
    "settled": settled.run,
    "importing": importing.run,
    "code filters": code_filters.run,
    "redaction": redaction.run,
    "embedding": embedding.run,
    "training": training.run,
    "generation": generation.run,
    "seeds": seeds.run,
    "seed pages": seed_pages.run,
}


def main() -> int:
    unknown = set(sys.argv[1:]) - set(BENCHES)
    if unknown:
        print(f"no such timing: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
        return 2
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    # It halves numpy's matrix products where it is set (performance.md); ours must be quick either way.
    print(f"OPENBLAS_CORETYPE: {os.environ.get('OPENBLAS_CORETYPE', 'unset')}")
    for name in sys.argv[1:] or BENCHES:
        print(f"\n{name}")
        for line in BENCHES[name]():
            print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
