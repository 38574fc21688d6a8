# AppArmor profile of the container's one program: read its settings and credentials, talk TCP and
# UDP, and write its log. Landlock and seccomp, which sidekey puts on itself, are narrower; this one
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
  /{usr/share,usr/local/share,var/lib}/ca-certificates/** r,

  # What the kernel says about the process and the container: the audit at the start.
  / r,
  /dev/ r,
  /proc/ r,
  @{PROC}/** r,
  /sys/class/net/ r,
  /sys/fs/cgroup/** r,
  /sys/module/apparmor/parameters/enabled r,
  /dev/{urandom,random} r,

  # Vault and names, the local door, a TLS listener on any address, ambassadors and their
  # destinations; netlink tells whose connection it is. Ports are Landlock's to name.
  network inet stream,
  network inet dgram,
  network inet6 stream,
  network inet6 dgram,
  network netlink dgram,
  network netlink raw,
  unix,

  # The log: a pipe as a rule, a terminal with `docker run -t`.
  /dev/{null,tty,console} rw,
  /dev/pts/[0-9]* rw,

  # The engine stops it; `docker exec` starts it again for health checks. A [[notify]] with a signal
  # needs the application's profile too: signal (send) set=(hup) peer=docker-default,
  signal (receive),
  signal (send) peer=sidekey,

  # Everything else is refused, and the kernel's log says what: other files, any writing, other
  # programs (so `sidekey exec` needs a rule for its program), capabilities, ptrace, mounts.
}
