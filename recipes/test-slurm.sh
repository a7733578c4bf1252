#!/usr/bin/env bash
# Trains short chains of both plugins as jobs of a real Slurm on this machine, kills a job and the command midway, and
# checks the tickets against those of a local run; then stops the daemons that it started. Needs root (for Slurm's
# daemons) and Debian's packages, which it installs where it may:
#   bash recipes/test-slurm.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "test-slurm: skipped: $1"
    exit 0
}

commands=(slurmctld slurmd sbatch squeue munged)
missing=()
for command in "${commands[@]}"; do
    [[ -x $(PATH=$PATH:/usr/sbin:/sbin command -v "$command") ]] || missing+=("$command")
done
[[ $(id -u) == 0 ]] || skip "Slurm's daemons need root"
if [[ ${#missing[@]} -gt 0 ]]; then
    [[ -x $(command -v apt-get) ]] || skip "${missing[*]} are missing, and there is no apt-get"
    echo "test-slurm: installing Slurm and munge"
    # Without a network apt-get would wait long.
    options=(-qq -o Acquire::Retries=0 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15)
    timeout 90 apt-get "${options[@]}" update >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get "${options[@]}" install -y --no-install-recommends \
        slurmctld slurmd slurm-client munge >/dev/null 2>&1 ||
        skip "apt-get cannot install slurmctld slurmd slurm-client munge"
fi
export PATH=$PATH:/usr/sbin:/sbin
if squeue --noheader >/dev/null 2>&1; then
    skip "there is a Slurm already, and it is not to be disturbed"
fi
bash recipes/setup.sh

work=$(mktemp -d)
host=$(hostname -s)
# Two ranks are two tasks, on one core too. nproc would take OMP_NUM_THREADS for the number of cores.
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
((cores > 1)) || cores=2
stop() {
    for name in slurmd slurmctld munged; do
        pid=$(cat "$work/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
    rm -rf "$work"
}
trap stop EXIT

# A key and a socket of its own: a munge that runs already is left alone.
dd if=/dev/urandom of="$work/munge.key" bs=1024 count=1 status=none
chmod 400 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munged.log" --seed-file="$work/munge.seed"
mkdir -p "$work/state" "$work/spool"
cat >"$work/slurm.conf" <<CONF
ClusterName=lottery
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CryptoType=crypto/munge
SlurmctldPort=${SLURMCTLD_PORT:-17817}
SlurmdPort=${SLURMD_PORT:-17818}
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmdParameters=config_overrides
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=1
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld
slurmd
for _ in $(seq 60); do
    [[ $(sinfo --noheader --format %T 2>/dev/null) == idle ]] && break
    sleep 0.5
done
if [[ $(sinfo --noheader --format %T 2>/dev/null) != idle ]]; then
    echo "test-slurm: error: Slurm did not start" >&2
    tail -n 5 "$work"/slurm*.log >&2
    exit 1
fi
echo "test-slurm: $(sbatch --version) runs on $host"
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 LOTTERY_TEST_SLURM=1
.venv/bin/python -m pytest tests/slurm "$@"
