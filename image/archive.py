"""Packs directories as an OCI archive, for `docker load`, `kind load image-archive` and containerd."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_TYPE: Final = "application/vnd.oci.image"


def pack_layer(root: Path, file: Path) -> None:
    """Pack the content of a directory as a layer. Every file is owned by root and has no build user in it."""

    def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with (
        file.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as layer,
    ):
        for path in sorted(root.rglob("*")):
            layer.add(path, str(path.relative_to(root)), recursive=False, filter=owned_by_root)


def pack_image(file: Path, name: str, layers: Sequence[Path], config: dict[str, Any], architecture: str) -> None:
    """Write the archive. `layers` are in order from the lowest; `config` is that of the OCI image specification."""
    content = {layer: layer.read_bytes() for layer in layers}
    diffs = [_digest(gzip.decompress(data)) for data in content.values()]
    platform = {"architecture": architecture, "os": "linux"}
    document = {**platform, "config": config, "rootfs": {"type": "layers", "diff_ids": diffs}}
    blobs = [_json(document), *content.values()]
    descriptors = [_descriptor(blobs[0], "config.v1+json")]
    descriptors += [_descriptor(blob, "layer.v1.tar+gzip") for blob in content.values()]
    manifest = _json({"schemaVersion": 2, "mediaType": f"{_TYPE}.manifest.v1+json", "config": descriptors[0],
                      "layers": descriptors[1:]})  # fmt: skip
    entry = {
        **_descriptor(manifest, "manifest.v1+json"),
        "platform": platform,
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]},
    }
    with tarfile.open(file, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (manifest, *blobs):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def _descriptor(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_TYPE}.{kind}", "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
