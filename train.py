"""The one training entry point.

python train.py                                                        the demo
python train.py +experiment=phase12_dual_head data.cache_dir=CACHE     a recipe
python train.py resume=RUN_DIR                                         go on with a run
python train.py --help                                                 all groups and keys
"""

import sys

from snac_exp.verbs.training.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
