#!/bin/sh
# Makes this machine a node of the mill at {{ url }}. Written by that server for its own program, version {{ version }}.
# The join token comes on standard input or in GRISTMILL_JOIN_TOKEN; it is never an argument. Can be run again at any time:
# a machine that is a node already stays the node it is, and gets this program.
#
#   sh install.sh [--pin FINGERPRINT] [--check] [--data DIR] [--bin DIR] [--simulated-gpus N] [--no-service]
set -eu

url='{{ url }}'
gateway='{{ gateway }}'
sha256='{{ sha256 }}'
bytes='{{ bytes }}'
architecture='{{ architecture }}'
glibc='{{ glibc }}'
own_root='{% if own %}yes{% endif %}'

pin='' check='' data=/var/lib/gristmill-agent bin=/usr/local/bin simulated='' service=yes
while [ $# -gt 0 ]; do
  case $1 in
    --pin) pin=$2; shift ;;
    --check) check=yes ;;
    --data) data=$2; shift ;;
    --bin) bin=$2; shift ;;
    --simulated-gpus) simulated=$2; shift ;;
    --no-service) service='' ;;
    *) echo "install.sh does not know the word $1." >&2; exit 2 ;;
  esac
  shift
done

stops=0
good() { printf '  good     %-18s %s\n' "$1" "$2"; }
lacking() { printf '  lacking  %-18s %s\n                              → %s\n' "$1" "$2" "$3"; }
stop() { printf '  STOPS    %-18s %s\n                              → %s\n' "$1" "$2" "$3"; stops=1; }
give_up() { printf '\nNot installed: %s\n' "$1" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# Devices, control groups and the service need root. The token stays on standard input; sudo asks at the terminal.
if [ "$(id -u)" != 0 ] && [ -n "$service" ] && [ -z "$check" ]; then
  has sudo || give_up 'this needs root, and there is no sudo. Paste the line in a shell of root.'
  set -- --data "$data" --bin "$bin"
  if [ -n "$pin" ]; then set -- "$@" --pin "$pin"; fi
  if [ -n "$simulated" ]; then set -- "$@" --simulated-gpus "$simulated"; fi
  # sudo keeps no environment, and a token must not be one of its arguments.
  if [ -n "${GRISTMILL_JOIN_TOKEN:-}" ]; then
    printf '%s\n' "$GRISTMILL_JOIN_TOKEN" | sudo sh "$0" "$@"
    exit
  fi
  exec sudo sh "$0" "$@"
fi

for tool in curl sha256sum base64 sed mktemp; do
  has "$tool" || give_up "the command $tool is missing. Install it (Debian: apt-get install curl coreutils sed) and paste the line again."
done

here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
trap 'exit 1' HUP INT TERM

# curl as this mill wants it: over its own root where the front door uses that.
fetch_root() {
  if [ -n "$own_root" ]; then curl -fsSk -o "$here/ca.pem" "$url/ca.pem"; else curl -fsS -o "$here/ca.pem" "$url/ca.pem"; fi
}
from_mill() {
  if [ -n "$own_root" ]; then curl -fsS --cacert "$here/ca.pem" "$@"; else curl -fsS "$@"; fi
}

echo "This machine, for the mill at $url:"
fetch_root || give_up "$url does not answer. Check the address, the name service and the firewall."
found=$(sed '/-----/d' "$here/ca.pem" | base64 -d | sha256sum | cut -c1-64)
if [ -n "$pin" ] && [ "$found" != "$pin" ]; then
  give_up "the mill's root has the fingerprint $found, not the pinned one. This is not your mill, or its root was replaced: make a new line there."
fi
pin=$found

# The token is read once and goes on by pipes alone. Whoever waits for this machine sees that it is here.
token=${GRISTMILL_JOIN_TOKEN:-}
unset GRISTMILL_JOIN_TOKEN
if [ -z "$token" ] && [ -z "$check" ] && [ ! -t 0 ]; then IFS= read -r token || :; fi
name=gateway.gristmill.internal
to_gateway() { curl -sS --cacert "$here/ca.pem" --connect-to "$name:443:${gateway#https://}" "$@"; }
if [ -n "$token" ] && [ ! -f "$data/node.json" ]; then
  status=$(printf '{"token":"%s","hostname":"%s"}' "$token" "$(uname -n)" |
    to_gateway -o "$here/answer" -w '%{http_code}' -H 'content-type: application/json' --data-binary @- "https://$name/arrive") || status=''
  case $status in
    200) good 'Gateway' "${gateway#https://} answers" ;;
    '' | 000) stop 'Gateway' "${gateway#https://} does not answer." "Open the firewall between; the server's --gateway has to listen where machines reach it." ;;
    *) give_up "$(sed 's/.*"what":"\([^"]*\)".*"why":"\([^"]*\)".*"next":"\([^"]*\)".*/\1 \2 \3/' "$here/answer")" ;;
  esac
fi

# Only what must be right before the program itself can look.
machine=$(uname -m)
if [ "$machine" = "$architecture" ]; then good 'Architecture' "$machine"; else
  stop 'Architecture' "This is $machine; the mill's program is for $architecture." "Build gristmill from source on this machine and run: gristmill agent --join"
fi
libc=$( (getconf GNU_LIBC_VERSION || ldd --version) 2>/dev/null | sed -n '1s/.* \([0-9][0-9]*\.[0-9][0-9]*\)$/\1/p')
newest=$(printf '%s\n%s\n' "$libc" "$glibc" | sort -t. -k1,1n -k2,2n | tail -n 1)
if [ -z "$libc" ]; then
  stop 'C library' "No glibc was found; the program needs $glibc." "Use a distribution with glibc, such as Debian, Ubuntu or RHEL."
elif [ "$newest" = "$libc" ]; then good 'C library' "glibc $libc (needed: $glibc)"; else
  stop 'C library' "This is glibc $libc; the program needs $glibc." "Upgrade the system, or build the mill's program on one as old as this."
fi
server_date=$(from_mill -I "$url/ca.pem" | tr -d '\r' | sed -n 's/^[Dd]ate: //p')
server_time=$(date -u -d "$server_date" +%s 2>/dev/null || echo '')
if [ -n "$server_time" ]; then
  skew=$(( $(date -u +%s) - server_time )); skew=${skew#-}
  if [ "$skew" -le 60 ]; then good 'Time of day' "within ${skew} s of the mill"; else
    lacking 'Time of day' "It is $skew s away from the mill's; a node takes no lease with more than 60 s." "Set it: timedatectl set-ntp true (or install chrony)"
  fi
fi
# busybox knows no POSIX df; without an answer the program looks again itself.
free=$(df -Pk "$(dirname "$bin")" 2>/dev/null | awk 'NR==2 {print $4}')
if [ -n "$free" ] && [ "$free" -lt $(( bytes * 2 / 1024 + 10240 )) ]; then
  stop 'Room for itself' "$(( free / 1024 )) MiB are free beside $bin; the program takes $(( bytes / 1048576 )) MiB." "Make room there, or name another place: --bin DIR"
fi
if [ "$stops" = 1 ]; then give_up 'see what stops it above; mend that and paste the line again.'; fi

# The program: fetched beside its place, held against the sum of this script, and put there in one step.
program=$bin/gristmill
has_sum() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -c1-64)" = "$sha256" ]; }
changed=''
if has_sum "$program"; then good 'Program' "$program is the mill's version {{ version }} already"; else
  if [ -n "$check" ]; then target=$here/gristmill; else mkdir -p "$bin"; target=$bin/.gristmill.new; fi
  from_mill -o "$target" "$url/install/gristmill" || give_up 'the program could not be fetched. Paste the line again.'
  has_sum "$target" || { rm -f "$target"; give_up 'the program came damaged, or the server was just upgraded. Fetch a new line and try again.'; }
  chmod 755 "$target"
  "$target" --version >/dev/null || { rm -f "$target"; give_up 'the program does not start on this machine; its words stand above.'; }
  if [ -n "$check" ]; then program=$target; else
    mv -f "$target" "$program"; changed=yes
    good 'Program' "$program, version {{ version }}"
  fi
fi

set -- --data "$data" --server "$gateway" --ca-fingerprint "$pin"
if [ -n "$simulated" ]; then set -- "$@" --simulated-gpus "$simulated"; fi
if [ -n "$check" ]; then
  if "$program" agent --check "$@"; then exit 0; else exit 1; fi
fi

printf '%s\n' "$token" | "$program" agent --join "$@" || exit 1

if [ -z "$service" ]; then
  printf '\nNo service was asked for. Start it yourself:\n  %s agent %s\n' "$program" "$*"
  exit 0
fi
unit=/etc/systemd/system/gristmill-agent.service
written=$here/unit
cat >"$written" <<UNIT
# Written by install.sh of $url
[Unit]
Description=Gristmill agent: this machine as a node of $url
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart=$program agent $*
Restart=always
RestartSec=3
# Stopping or upgrading the agent ends no workload: the next one adopts them.
KillMode=process
TimeoutStopSec=30
LimitNOFILE=1048576
UMask=0077
Delegate=yes

[Install]
WantedBy=multi-user.target
UNIT
if [ ! -d /run/systemd/system ]; then
  printf '\nThis machine is a node, and systemd does not run here. Let whatever starts services here run, as root and for good:\n  %s agent %s\n' "$program" "$*"
  exit 0
fi
if cmp -s "$written" "$unit"; then
  if [ -n "$changed" ]; then systemctl restart gristmill-agent.service; else systemctl start gristmill-agent.service; fi
else
  cp "$written" "$unit"
  systemctl daemon-reload
  systemctl enable gristmill-agent.service
  systemctl restart gristmill-agent.service
fi
printf '\nThe agent runs and starts with the machine. Its log: journalctl -u gristmill-agent\n'
