#!/usr/bin/env bash
# End what start_slurm.sh started, by its pid files: first the jobs, whose processes would outlive the node.
set -u
export PATH=$PATH:/usr/sbin:/sbin
BASE=${SLURM_TEST_DIR:-$(sed -n 's/^# written by .* state in: //p' /etc/slurm/slurm.conf 2>/dev/null)}
PIDS=${BASE:-/var/lib/slurm-test}/run

lives() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}
# end NAME: ask, wait 15 s, then insist
end() {
  local file=$PIDS/$1.pid pid
  if lives "$file" "$1"; then
    pid=$(cat "$file")
    kill -TERM "$pid"
    for _ in $(seq 150); do
      lives "$file" "$1" || break
      sleep 0.1
    done
    if lives "$file" "$1"; then kill -KILL "$pid"; fi
    echo "stop_slurm: $1 ended"
  fi
  rm -f "$file"
}

if lives "$PIDS/slurmctld.pid" slurmctld; then
  timeout 20 scancel --state=PENDING
  timeout 20 scancel --full --signal=KILL --state=RUNNING
  timeout 10 squeue -h -o %A | sort -u | xargs -r timeout 20 scancel
  for _ in $(seq 150); do
    [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
    sleep 0.1
  done
fi
for name in slurmd slurmctld slurmdbd mariadbd munged; do end "$name"; done
