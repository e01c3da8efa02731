# Shared by tools/quickstart and tools/check: numbered steps, times, how many compilers to run.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
started=$SECONDS
# Compute threads that wait for each other sleep: whatever else this machine does, spinning beside
# it makes a step several times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
step_number=0
step_name=

finish_step() {
  [[ -z $step_name ]] || printf '   %s: %s s\n' "$step_name" $((SECONDS - step_started))
  step_name=
}

# step NAME: closes the step before and opens this one.
step() {
  finish_step
  step_number=$((step_number + 1))
  step_name=$1
  step_started=$SECONDS
  printf '\n== %s/%s %s\n' "$step_number" "$step_count" "$step_name"
}

# One compiler a core, but each may take 2 GB; STRATA_JOBS overrides.
job_count() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '$1 == "MemAvailable:" { print int($2 / 2097152) }' /proc/meminfo)
  ((memory >= 1)) || memory=1
  echo "${STRATA_JOBS:-$((cores < memory ? cores : memory))}"
}

# build TARGET...: configures and builds the release preset in build/.
build() {
  local log
  log=$(mktemp)
  if ! cmake --preset release "${cmake_args[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
  rm -f "$log"
  NINJA_STATUS='[%f/%t, %es] ' cmake --build build --parallel "$(job_count)" --target "$@"
}

cmake_args=()
trap 'status=$?; if ((status != 0)); then
        printf "\n%s: stopped in step \"%s\" (status %s)\n" "$(basename "$0")" "$step_name" "$status" >&2
      fi' EXIT
