"""Says on what kind of file system a folder lies: SQLite's locks hold on one machine only."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

# Types as Linux and macOS name them; smb2, smb3 and smbfs are known by their beginning.
_NETWORKED = frozenset(
    {
        *("9p", "acfs", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs"),
        *("gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "vboxsf"),
        *("virtiofs", "webdav", "wekafs"),
    }
)
_NETWORKED_BY_FUSE = frozenset({"beegfs", "ceph", "glusterfs", "juicefs", "rclone", "s3fs", "sshfs"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A file system and where it begins."""

    path: Path
    kind: str


def mounted() -> list[Mount]:
    """Return the file systems of this machine; none where it does not say."""
    try:
        partitions = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return []
    return [Mount(path=Path(each.mountpoint), kind=each.fstype) for each in partitions]


def network_file_system(folder: Path, mounts: Iterable[Mount]) -> str | None:
    """Return the type of the network file system that a folder lies on, or None where it is a local one.

    Args:
        folder: Need not be there yet.
        mounts: In the order in which they were mounted: of two at one place the later one is seen.
    """
    place = folder.resolve()
    holding = [mount for mount in mounts if place.is_relative_to(mount.path)]
    if not holding:
        return None
    depth = max(len(mount.path.parts) for mount in holding)
    kind = [mount.kind.lower() for mount in holding if len(mount.path.parts) == depth][-1]
    is_networked = (
        kind in _NETWORKED or kind.startswith("smb") or kind.removeprefix("fuse.") in _NETWORKED_BY_FUSE
    )
    return kind if is_networked else None


def network_warning(folder: Path, mounts: Iterable[Mount]) -> str | None:
    """Say what a network file system means for a store, or None on a local one."""
    kind = network_file_system(folder, mounts)
    if kind is None:
        return None
    return (
        f"the store in {folder} lies on a network file system ({kind}) and is for the processes of one "
        "machine at a time; give each a VLLM_FLOWS_STORE on its own disk and `vllm-flows cache merge` later"
    )


def warn_of_network(folder: Path, mounts: Iterable[Mount]) -> None:
    """Log the warning, if there is one."""
    if warning := network_warning(folder, mounts):
        logger.warning("%s", warning)
