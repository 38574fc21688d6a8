# AppArmor profile of the container's one program: read its settings and credentials, talk TCP and
# UDP, and nothing else. Landlock and seccomp, which sidekey puts on itself, are narrower; this one
# holds from before its first instruction, and is the operator's.
#
#   sudo apparmor_parser -r -W compose/apparmor.profile
#   COMPOSE_FILE=compose.yaml:compose.apparmor.yaml ./up

abi <abi/3.0>,
include <tunables/global>

profile sidekey flags=(attach_disconnected, mediate_deleted) {
  # Itself.
  /sidekey mr,

  # Settings, credentials, trust anchors, names of hosts.
  /etc/** r,
  /run/** r,
  /var/run/secrets/** r,
  /usr/share/ca-certificates/** r,

  # What the kernel says about the process and the container: the audit at the start.
  / r,
  /dev/ r,
  /proc/ r,
  @{PROC}/** r,
  /sys/class/net/ r,
  /sys/fs/cgroup/** r,
  /sys/module/apparmor/parameters/enabled r,
  /dev/{null,urandom,random} r,

  network inet stream,
  network inet dgram,
  network inet6 stream,
  network inet6 dgram,
  network netlink dgram,
  network netlink raw,
  unix,

  # The engine stops it; `docker exec` starts it again for health checks.
  signal (receive),
  signal (send) peer=sidekey,

  deny @{PROC}/sys/** w,
  deny /** wl,
  deny ptrace,
  deny mount,
  deny capability,
}
