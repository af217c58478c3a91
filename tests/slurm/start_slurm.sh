#!/usr/bin/env bash
# A whole SLURM on this one machine, for tests: controller, one node, accounting. Debian, root, no systemd needed.
#
#   tests/slurm/start_slurm.sh     install what is missing, configure, start, wait until the node is idle
#
# Everything listens on loopback. Running it twice changes nothing. End it with stop_slurm.sh beside this file.
# Settings (environment): SLURM_TEST_DIR state and logs, FAKE_CPUS and FAKE_GPUS of the node, REQUEUE_WAIT seconds.
# Status 3: it cannot be had here (no root, no packages, another SLURM's configuration); 1: it should start and does not.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

BASE=${SLURM_TEST_DIR:-/var/lib/slurm-test}
FAKE_CPUS=${FAKE_CPUS:-8}
FAKE_GPUS=${FAKE_GPUS:-2}
REQUEUE_WAIT=${REQUEUE_WAIT:-5}
CONF=/etc/slurm
PIDS=$BASE/run
LOGS=$BASE/log
SOCKET=$PIDS/munge.socket
DATABASE_PORT=33306
NODE=$(hostname -s)

tell() { echo "start_slurm: $*"; }
fail() {
  tell "failed: $*" >&2
  tail -n 15 "$LOGS"/*.log >&2 2>/dev/null || true
  exit 1
}
impossible() {
  tell "not here: $*" >&2
  exit 3
}
[ "$(id -u)" = 0 ] || impossible "needs root"
if [ -s "$CONF/slurm.conf" ] && ! grep -q '^# written by tests/slurm/start_slurm.sh' "$CONF/slurm.conf"; then
  impossible "$CONF/slurm.conf is another SLURM's"
fi

# Only the daemons themselves: the -core packages bring a database server without its service and its Perl tools.
packages=(munge slurmctld slurmd slurm-client slurmdbd mariadb-server-core mariadb-client-core)
absent=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || absent+=("$package")
done
if [ ${#absent[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || impossible "needs Debian's packages ${absent[*]}"
  tell "installing ${absent[*]}"
  mkdir -p "$LOGS"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${absent[@]}"; } \
    >"$LOGS/apt.log" 2>&1 || impossible "apt-get could not install them, see $LOGS/apt.log"
fi

# lives PIDFILE NAME: the file names a process, and that process has this name
lives() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}
# until_true SECONDS COMMAND…
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

mkdir -p "$PIDS" "$LOGS" "$CONF" "$BASE"/{controller,node,database,database_run,gpu,munge}
chmod 755 "$BASE" "$PIDS" "$LOGS" "$BASE/gpu" "$BASE/node"
chown slurm:slurm "$BASE/controller" "$LOGS"

write_config() {
  local memory
  memory=$(awk '/^MemTotal/ {print int($2 / 2048)}' /proc/meminfo)
  cat >"$CONF/slurm.conf" <<EOF
# written by tests/slurm/start_slurm.sh, state in: $BASE
ClusterName=testcluster
SlurmctldHost=$NODE(127.0.0.1)
SlurmctldPort=6817
SlurmdPort=6818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny,DisableIPv6
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it starts again; 120 s unless set
AuthInfo=socket=$SOCKET,cred_expire=$REQUEUE_WAIT
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
JobRequeue=1
KillWait=3
OverTimeLimit=0
MinJobAge=3600
TCPTimeout=5
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0
PriorityType=priority/basic
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=$((memory / FAKE_CPUS))
# a job of another partition requeues one of scavenge, and its own --signal comes when the grace period begins
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=6819
# under munge this is the socket, and the clients hang for minutes without it
AccountingStoragePass=$SOCKET
StateSaveLocation=$BASE/controller
SlurmdSpoolDir=$BASE/node
SlurmctldPidFile=$PIDS/slurmctld.pid
SlurmdPidFile=$PIDS/slurmd.pid
SlurmctldLogFile=$LOGS/slurmctld.log
SlurmdLogFile=$LOGS/slurmd.log
GresTypes=gpu
# take the numbers of this file for the node's, whatever the machine has
SlurmdParameters=config_overrides
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=$FAKE_CPUS RealMemory=$memory Gres=gpu:$FAKE_GPUS State=UNKNOWN
PartitionName=cpu Nodes=$NODE Default=YES MaxTime=INFINITE DefaultTime=60 PriorityTier=10 PreemptMode=off
PartitionName=scavenge Nodes=$NODE MaxTime=INFINITE DefaultTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
EOF
  # SLURM sets CUDA_VISIBLE_DEVICES only for device files: copies of /dev/null do
  local number
  for number in $(seq 0 $((FAKE_GPUS - 1))); do
    [ -c "$BASE/gpu/gpu$number" ] || mknod -m 666 "$BASE/gpu/gpu$number" c 1 3
  done
  echo "Name=gpu File=$BASE/gpu/gpu[0-$((FAKE_GPUS - 1))] Flags=nvidia_gpu_env" >"$CONF/gres.conf"
  cat >"$CONF/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$SOCKET
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=6819
SlurmUser=slurm
CommunicationParameters=NoInAddrAny,DisableIPv6
PidFile=$PIDS/slurmdbd.pid
LogFile=$LOGS/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$DATABASE_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
EOF
  chown slurm:slurm "$CONF/slurmdbd.conf"
  chmod 600 "$CONF/slurmdbd.conf"
}
lives "$PIDS/slurmctld.pid" slurmctld || write_config

if ! lives "$PIDS/munged.pid" munged; then
  chown root:root "$BASE/munge" "$PIDS"
  key=$BASE/munge/munge.key
  [ -s "$key" ] || (umask 077 && head -c 1024 /dev/urandom >"$key")
  munged --key-file="$key" --socket="$SOCKET" --pid-file="$PIDS/munged.pid" \
    --log-file="$BASE/munge/munged.log" --seed-file="$BASE/munge/munged.seed" || fail "munged"
  until_true 10 munge -n -S "$SOCKET" || fail "munged does not answer"
fi

if ! lives "$PIDS/mariadbd.pid" mariadbd; then
  chown slurm:slurm "$BASE/database" "$BASE/database_run"
  if [ ! -d "$BASE/database/mysql" ]; then
    mariadb-install-db --no-defaults --user=slurm --datadir="$BASE/database" --skip-test-db \
      --auth-root-authentication-method=normal >"$LOGS/mariadb_install.log" 2>&1 || fail "mariadb-install-db"
    cat >"$BASE/database_run/accounts.sql" <<EOF
CREATE OR REPLACE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
CREATE OR REPLACE USER 'slurm'@'localhost' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';
EOF
  fi
  setsid mariadbd --no-defaults --user=slurm --datadir="$BASE/database" --bind-address=127.0.0.1 \
    --port=$DATABASE_PORT --socket="$BASE/database_run/mysql.sock" --pid-file="$BASE/database_run/mariadbd.pid" \
    --init-file="$BASE/database_run/accounts.sql" --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
    --innodb-flush-log-at-trx-commit=0 --skip-log-bin </dev/null >>"$LOGS/mariadbd.log" 2>&1 &
  echo $! >"$PIDS/mariadbd.pid"
  until_true 60 listens $DATABASE_PORT || fail "mariadbd"
fi
if ! lives "$PIDS/slurmdbd.pid" slurmdbd; then
  slurmdbd || fail "slurmdbd"
  until_true 60 listens 6819 || fail "slurmdbd does not listen"
fi
sacctmgr -nP list cluster format=cluster 2>/dev/null | grep -qx testcluster ||
  until_true 30 sacctmgr -i add cluster testcluster || fail "sacctmgr"

if ! lives "$PIDS/slurmctld.pid" slurmctld; then
  slurmctld || fail "slurmctld"
  until_true 30 scontrol ping || fail "slurmctld does not answer"
fi
lives "$PIDS/slurmd.pid" slurmd || slurmd -N "$NODE" || fail "slurmd"

# a node that an earlier session left drained stays so until told otherwise
case $(sinfo -h -N -o %T | head -n 1) in drain* | down*) scontrol update nodename="$NODE" state=resume || true ;; esac
usable() { sinfo -h -N -o %T | head -n 1 | grep -qE '^(idle|mixed|allocated|completing)$'; }
until_true 60 usable || fail "the node is $(sinfo -h -N -o %T | head -n 1)"
tell "ready: $(sinfo -h -N -o '%N %T, %c CPUs, %G' | head -n 1)"
