#!/usr/bin/env bash
# Run a command beside a SLURM on this machine: started before and ended after it, unless it ran already.
#
#   tests/slurm/with_slurm.sh COMMAND…     its exit status; 3 where SLURM cannot be had here
set -uo pipefail
here=$(dirname "$0")
ran_before=true
timeout 10 scontrol ping >/dev/null 2>&1 || ran_before=false
"$here/start_slurm.sh" || exit
"$@"
status=$?
$ran_before || "$here/stop_slurm.sh"
exit $status
