"""train.py, or the verb sweep, with stub jobs, killed at an event; a search is driven in this process.

usage: python -m tests.sweeps.killed_driver EVENT GLOB ARGUMENT…     EVENT and GLOB as of tests.helpers.killed
"""

import sys

from snac_exp import cli
from snac_exp.sweeps import local_pool
from snac_exp.sweeps.bayesian import search
from snac_exp.verbs.training import train
from tests.helpers.killed import kill_at
from tests.sweeps.stub_job import stub_command

if __name__ == "__main__":
    event, pattern, *arguments = sys.argv[1:]
    kill_at(event, pattern)
    local_pool.resume_command = stub_command
    search.run_driver = lambda sweep, *_, wait: search.main(sweep.path)
    sys.exit(train.main(arguments) if "-m" in arguments else cli.run(["sweep", *arguments]))
