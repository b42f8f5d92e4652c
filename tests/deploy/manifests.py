"""Manifests as objects: YAML read strictly, and the part of Kustomize that deploy/kustomize uses.

The build is small so that it works without kubectl; where kubectl is installed, check.py compares both.
"""

import copy
import json
import subprocess
from pathlib import Path

import yaml

# What tells one element of a list from another when a patch is merged; other lists are replaced.
MERGE_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
CLUSTER_SCOPED = {"Namespace"}
UNDERSTOOD = {
    "apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images", "replicas", "patches",
}


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Refuses a key given twice, which YAML readers otherwise take silently."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, StrictLoader) if document is not None]


def merge(target: dict, patch: dict) -> dict:
    """A strategic merge: objects member by member, the lists above element by element."""
    for key, value in patch.items():
        old = target.get(key)
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in MERGE_KEYS:
            for element in value:
                same = [o for o in old if all(o.get(k) == element.get(k) for k in MERGE_KEYS[key])]
                merge(same[0], element) if same else old.append(copy.deepcopy(element))
        else:
            target[key] = copy.deepcopy(value)
    return target


def kustomization(directory: Path) -> dict:
    (document,) = read(directory / "kustomization.yaml")
    unknown = set(document) - UNDERSTOOD
    if unknown:
        raise ValueError(f"{directory.name}/kustomization.yaml: not understood: {', '.join(sorted(unknown))}")
    return document


def referenced(directory: Path) -> list[Path]:
    """Every path that a kustomization names."""
    document = kustomization(directory)
    names = list(document.get("resources", []))
    names += [patch["path"] for patch in document.get("patches", [])]
    names += [name for maps in document.get("configMapGenerator", []) for name in maps["files"]]
    return [directory / name for name in names]


def build(directory: Path) -> list[dict]:
    """`kubectl kustomize`, without the hash at the end of a generated ConfigMap's name."""
    document = kustomization(directory)
    objects: list[dict] = []
    for name in document.get("resources", []):
        path = directory / name
        objects += build(path) if path.is_dir() else read(path)

    def find(kind: str, name: str) -> dict:
        (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
        return found

    for maps in document.get("configMapGenerator", []):
        data = {Path(name).name: (directory / name).read_text(encoding="utf-8") for name in maps["files"]}
        behavior = maps.get("behavior", "create")
        if behavior == "create":
            objects.append(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": maps["name"]}, "data": data}
            )
        elif behavior == "replace":
            find("ConfigMap", maps["name"])["data"] = data
        else:
            raise ValueError(f"configMapGenerator behavior {behavior}")
    for patch in document.get("patches", []):
        for partial in read(directory / patch["path"]):
            merge(find(partial["kind"], partial["metadata"]["name"]), partial)
    for replica in document.get("replicas", []):
        find("Deployment", replica["name"])["spec"]["replicas"] = replica["count"]
    for image in document.get("images", []):
        for container in containers(objects):
            name, _, tag = container["image"].rpartition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
    if "namespace" in document:
        for item in objects:
            if item["kind"] not in CLUSTER_SCOPED:
                item["metadata"]["namespace"] = document["namespace"]
    return objects


def pod_spec(item: dict) -> dict:
    return item["spec"]["template"]["spec"]


def containers(objects: list[dict]) -> list[dict]:
    specs = [pod_spec(item) for item in objects if item["kind"] == "Deployment"]
    return [c for spec in specs for group in ("initContainers", "containers") for c in spec.get(group, [])]


def kubectl_build(directory: Path) -> list[dict]:
    """The real thing, made comparable with `build`: a generated name has lost its hash."""
    text = subprocess.run(
        ["kubectl", "kustomize", str(directory)], check=True, capture_output=True, text=True
    ).stdout
    objects = [document for document in yaml.load_all(text, StrictLoader) if document is not None]
    text = json.dumps(objects)
    for item in objects:
        if item["kind"] == "ConfigMap":
            name = item["metadata"]["name"]
            text = text.replace(f'"{name}"', f'"{name.rpartition("-")[0]}"')
    return json.loads(text)


def comparable(objects: list[dict]) -> list[str]:
    def ordered(value):
        if isinstance(value, dict):
            return {key: ordered(member) for key, member in value.items()}
        if isinstance(value, list):
            # The order of keyed lists differs between tools and means nothing to Kubernetes here.
            return sorted((ordered(member) for member in value), key=lambda m: json.dumps(m, sort_keys=True))
        return value

    return sorted(json.dumps(ordered(item), sort_keys=True) for item in objects)
