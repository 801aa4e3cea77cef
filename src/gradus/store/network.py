"""Whether a file is on a network file system, where SQLite's write-ahead log can't be: it needs shared memory.

See https://www.sqlite.org/wal.html, and https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html for the table.
"""

import re
from pathlib import Path

__all__ = ["network_type"]

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    "9p acfs afs afp beegfs ceph cifs coda fhgfs gfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs panfs pvfs2 "  # noqa: SIM905
    "smb2 smb3 smbfs virtiofs vboxsf vmhgfs wekafs".split()
)
_IN_USER_SPACE = "fuse."  # such as fuse.sshfs; what is on a disk of this machine is "fuseblk"


def network_type(path: Path) -> str:
    """The type of the network file system that a file is on, such as "nfs4"; "" on this machine's own, and if unknown.

    Args:
        path: the file, which may be absent.
    """
    try:
        place = path.absolute().resolve()  # which mounts what is mounted when it is used
    except (OSError, RuntimeError):  # a loop of links
        return ""
    mounts = _mounts()
    kind = next((mounts[str(folder)] for folder in (place, *place.parents) if str(folder) in mounts), "")
    return kind if kind in _NETWORK or kind.startswith(_IN_USER_SPACE) else ""


def _mounts() -> dict[str, str]:
    """The type of each mount by its folder; of several at one folder the last counts, which hides the others."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        mount, _, source = line.partition(" - ")
        if len(fields := mount.split()) > 4 and source:
            found[_unescaped(fields[4])] = source.split()[0]
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
