"""Do the models differ by more than seeds where there is no dropout, and where there is some?

python tests/benchmarks/consequences.py --sets 60 --dropout 0
python tests/benchmarks/consequences.py --sets 10 --dropout 0.3
"""

from __future__ import annotations

import argparse
import time
from collections import Counter


def main() -> None:
    import zinbtools as zt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--n-obs", type=int, default=300)
    parser.add_argument("--n-vars", type=int, default=40)
    parser.add_argument("--max-epochs", type=int, default=60)
    options = parser.parse_args()
    positions: Counter[str] = Counter()
    for seed in range(options.sets):
        began = time.process_time()
        means = [0.3 * 1.1**g for g in range(options.n_vars)]
        adata = zt.simulate.gamma_poisson(options.n_obs, options.n_vars, means=means, rng=seed)
        if options.dropout:
            adata = zt.simulate.mixed(
                1.0, base=adata, inflation=zt.simulate.Uniform(options.dropout), rng=seed
            )
        zt.tl.fit_nb_zinb(
            adata, n_restarts=options.restarts, max_epochs=options.max_epochs, rng=seed, progress=False
        )
        zt.tl.consequences(adata, rng=seed)
        found = adata.uns["zinbtools"]["consequences"]
        positions[found["position"]] += 1
        measures = found["measures"].set_index("measure")[["nb", "zinb", "between", "pval"]].round(3)
        print(f"set {seed}: {dict(positions)}, {time.process_time() - began:.0f} CPU s", flush=True)
        print(measures.to_string(header=seed == 0), flush=True)


if __name__ == "__main__":
    main()
