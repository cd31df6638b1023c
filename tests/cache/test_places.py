"""A store that lies on a network file system says so."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from cache.disk_store import DiskStore
from cache.places import Mount, mounted, network_file_system, network_warning


def mounts(*pairs: tuple[str, str]) -> list[Mount]:
    return [Mount(path=Path(path), kind=kind) for path, kind in pairs]


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "lustre",
        "gpfs",
        "beegfs",
        "fuse.sshfs",
        "ceph",
        "afs",
        "NFS",
    ],
)
def test_network_file_systems_are_known_by_their_type(kind: str) -> None:
    found = mounts(("/", "ext4"), ("/data", kind))
    assert network_file_system(Path("/data/a/b"), found) == kind.lower()
    assert network_file_system(Path("/data"), found) == kind.lower()
    assert network_file_system(Path("/database"), found) is None


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "apfs", "zfs", "fuse.ntfs-3g", ""]
)
def test_local_file_systems_are_not(kind: str) -> None:
    assert network_file_system(Path("/data/a"), mounts(("/", "nfs"), ("/data", kind))) is None


def test_the_nearest_mount_counts_whatever_their_order() -> None:
    found = mounts(("/home/me/scratch", "xfs"), ("/", "ext4"), ("/home", "nfs4"))
    assert network_file_system(Path("/home/me/store"), found) == "nfs4"
    assert network_file_system(Path("/home/me/scratch/store"), found) is None


def test_the_later_of_two_mounts_at_one_place_is_seen() -> None:
    assert network_file_system(Path("/data"), mounts(("/data", "autofs"), ("/data", "nfs"))) == "nfs"
    assert network_file_system(Path("/data"), mounts(("/data", "nfs"), ("/data", "ext4"))) is None


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    found = mounts(("/", "ext4"), (str((tmp_path / "far").resolve()), "nfs"))
    assert network_file_system(tmp_path / "near" / "store", found) == "nfs"


def test_a_machine_that_tells_no_mounts_gives_no_warning() -> None:
    assert network_warning(Path("/data"), []) is None


def test_this_machine_names_its_root() -> None:
    assert Path("/") in {mount.path for mount in mounted()}


def test_a_store_that_is_opened_on_a_network_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def networked() -> Sequence[Mount]:
        return mounts(("/", "nfs4"))

    with caplog.at_level(logging.WARNING):
        DiskStore(tmp_path / "store", mounts=networked).close()
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"the store in {tmp_path / 'store'} lies on a network file system (nfs4)")
    assert warning.endswith("give each a VLLM_FLOWS_STORE on its own disk and `vllm-flows cache merge` later")
