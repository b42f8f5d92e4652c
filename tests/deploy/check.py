#!/usr/bin/env python3
"""Checks deploy/ without a cluster, a container engine or a network.

    python tests/deploy/check.py                      every check; the last line is "N passed, N failed"
    python tests/deploy/check.py --self-test          breaks every file on purpose and expects an objection
    python tests/deploy/check.py --print-configs DIR  writes the configurations that the manifests carry, with
                                                      placeholder credentials, for `parlance check --config`

Needs the packages of requirements.txt. kubectl and cargo are used where they are installed.
"""

import argparse
import fnmatch
import functools
import ipaddress
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path, PurePosixPath

import kubernetes_validate
from dockerfile_parse import DockerfileParser
from kubernetes_validate.utils import all_versions, major_minor

import manifests
from manifests import pod_spec

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (1, 30)
VERSIONS = [v for v in dict.fromkeys(all_versions()) if tuple(map(int, v.split(".")[:2])) >= OLDEST]
DRAIN = 5.0  # seconds between turning unready and closing the listener, where the configuration names none
TIMEOUT = 10.0  # seconds of the longest request, where the configuration names none
SPARE = 5.0  # seconds that the grace period leaves beyond both
USER = 65532
PLACEHOLDER = "REPLACE-ME"
SECRET_NAME = re.compile(r"key|secret|token|password|passwd|credential", re.I)
REAL_KEY = re.compile(r"\b(?:sk|pk|rk)[-_](?:live|test|proj)|-----BEGIN|\bAKIA[0-9A-Z]{12}|\bgh[pousr]_|\beyJ[\w-]{10}")
RESTRICTED_VOLUMES = {"configMap", "secret", "projected", "emptyDir", "downwardAPI", "persistentVolumeClaim", "csi"}


class Report:
    def __init__(self):
        self.passed, self.failures, self.place = 0, [], ""

    def expect(self, holds, what: str) -> bool:
        if holds:
            self.passed += 1
        else:
            self.failures.append(f"{self.place}: {what}")
        return bool(holds)

    def run(self, place: str, check, *arguments):
        """A check that cannot even finish has failed."""
        self.place = place
        try:
            check(self, *arguments)
        except Exception as error:  # noqa: BLE001
            self.failures.append(f"{place}: {check.__name__} could not finish: {type(error).__name__}: {error}")


class Form:
    """One way to deploy: its objects, and the Secret that its user has to make."""

    def __init__(self, name: str, directory: Path, objects: list[dict]):
        self.name, self.directory, self.objects = name, directory, objects
        self.sidecar = name == "sidecar"
        (self.secret,) = manifests.read(directory / "secret.example.yaml")
        (self.deployment,) = self.of("Deployment")
        self.pod = pod_spec(self.deployment)
        self.all = [c for group in ("initContainers", "containers") for c in self.pod.get(group, [])]
        (self.gateway,) = [c for c in self.all if image_name(c["image"]).endswith("/parlance")]
        self.text = self.config_text()
        self.config = tomllib.loads(self.text)

    def of(self, kind: str) -> list[dict]:
        return [item for item in self.objects if item["kind"] == kind]

    def volume(self, name: str) -> dict:
        (found,) = [v for v in self.pod["volumes"] if v["name"] == name]
        return found

    def mount(self, kind: str) -> tuple[dict, dict]:
        """The gateway's mount of the one volume of this kind."""
        ((mount, volume),) = [
            (m, self.volume(m["name"])) for m in self.gateway["volumeMounts"] if kind in self.volume(m["name"])
        ]
        return mount, volume

    def config_text(self) -> str:
        _, volume = self.mount("configMap")
        (found,) = [m for m in self.of("ConfigMap") if m["metadata"]["name"] == volume["configMap"]["name"]]
        return found["data"]["parlance.toml"]


def forms(root: Path) -> list[Form]:
    kustomize = root / "deploy/kustomize"
    sidecar = root / "deploy/sidecar"
    return [
        Form("sidecar", sidecar, manifests.read(sidecar / "sidecar.yaml")),
        Form("base", kustomize / "base", manifests.build(kustomize / "base")),
        Form("production", kustomize / "overlays/production", manifests.build(kustomize / "overlays/production")),
    ]


def image_name(image: str) -> str:
    name, _, tag = image.partition("@")[0].rpartition(":")
    return name if name and "/" not in tag else image


def image_tag(image: str) -> str:
    return image.partition("@")[0][len(image_name(image)) + 1 :]


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h)", duration).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def mebibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity).groups()
    return int(number) * {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}[unit]


def listener(config: dict, name: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    host, _, port = config[name]["listen"].rpartition(":")
    return ipaddress.ip_address(host.strip("[]")), int(port)


def selects(selector: dict, labels: dict) -> bool:
    wanted = selector.get("matchLabels", {})
    return bool(wanted) and set(selector) == {"matchLabels"} and wanted.items() <= labels.items()


# ---- the manifests -------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def schema_fault(item: str, version: str) -> str | None:
    """What the schemas of one Kubernetes version object to, members that they do not know included."""
    try:
        used = kubernetes_validate.validate(json.loads(item), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None if used == major_minor(version) else f"checked with the schemas of {used}"


def schemas(report: Report, form: Form, versions: list[str]):
    for item in [*form.objects, form.secret]:
        for version in versions:
            fault = schema_fault(json.dumps(item), version)
            name = f"{item['kind']} {item['metadata']['name']}"
            report.expect(fault is None, f"{name} against Kubernetes {version}: {fault}")


def names(report: Report, form: Form):
    seen = [(item["kind"], item["metadata"]["name"]) for item in form.objects]
    report.expect(len(seen) == len(set(seen)), "an object is there twice")
    (namespace,) = form.of("Namespace")
    for level in ("enforce", "audit", "warn"):
        label = f"pod-security.kubernetes.io/{level}"
        report.expect(namespace["metadata"]["labels"].get(label) == "restricted", f"Namespace: {label} not restricted")
    for item in [*form.objects, form.secret]:
        if item["kind"] not in manifests.CLUSTER_SCOPED:
            report.expect(
                item["metadata"].get("namespace") == namespace["metadata"]["name"],
                f"{item['kind']} {item['metadata']['name']} is in another namespace",
            )
    report.expect(not form.of("Secret"), "applying this would overwrite the Secret")
    labels = form.deployment["spec"]["template"]["metadata"]["labels"]
    report.expect(selects(form.deployment["spec"]["selector"], labels), "Deployment does not select its own Pods")


def pod_security(report: Report, form: Form):
    """The "restricted" Pod Security Standard, a read-only root and no token."""
    pod = form.pod
    report.expect(pod.get("automountServiceAccountToken") is False, "automountServiceAccountToken is not false")
    for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        report.expect(not pod.get(name), f"{name} is set")
    outer = pod.get("securityContext", {})
    report.expect(outer.get("runAsNonRoot") is True, "Pod: runAsNonRoot is not true")
    report.expect(outer.get("seccompProfile") == {"type": "RuntimeDefault"}, "Pod: seccompProfile not RuntimeDefault")
    for volume in pod.get("volumes", []):
        report.expect(set(volume) - {"name"} <= RESTRICTED_VOLUMES, f"volume {volume['name']}: kind not restricted")
    for container in form.all:
        name = container["name"]
        inner = container.get("securityContext", {})
        report.expect(inner.get("runAsNonRoot") is True, f"{name}: runAsNonRoot is not true")
        report.expect(inner.get("allowPrivilegeEscalation") is False, f"{name}: allowPrivilegeEscalation not false")
        report.expect(inner.get("readOnlyRootFilesystem") is True, f"{name}: readOnlyRootFilesystem is not true")
        report.expect(inner.get("capabilities") == {"drop": ["ALL"]}, f"{name}: capabilities are not drop ALL only")
        report.expect(inner.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{name}: seccomp not RuntimeDefault")
        report.expect(not inner.get("privileged"), f"{name}: privileged")
        report.expect((inner | outer).get("runAsUser") != 0, f"{name}: runs as root")
        report.expect(inner.get("runAsUser", outer.get("runAsUser")), f"{name}: no runAsUser")
        report.expect(not any("hostPort" in port for port in container.get("ports", [])), f"{name}: hostPort")
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        report.expect({"cpu", "memory"} <= set(requests), f"{name}: requests cpu and memory are not both set")
        report.expect(
            "memory" in limits and mebibytes(requests["memory"]) <= mebibytes(limits["memory"]),
            f"{name}: no memory limit above the request",
        )
    inner = form.gateway["securityContext"]
    for field in ("runAsUser", "runAsGroup"):
        report.expect(inner.get(field, outer.get(field)) == USER, f"gateway: {field} is not the image's {USER}")
    others = [c for c in form.all if c is not form.gateway]
    report.expect(
        all(c["securityContext"].get("runAsUser") != USER for c in others), "another container has the gateway's user"
    )


def images(report: Report, form: Form, version: str):
    for container in form.all:
        tag = image_tag(container["image"])
        report.expect(
            "@sha256:" in container["image"] or tag not in ("", "latest"), f"{container['name']}: image tag {tag!r}"
        )
    report.expect(
        image_tag(form.gateway["image"]) == version, f"the image is not of the workspace's version {version}"
    )


def secrets(report: Report, form: Form):
    """Credentials are files that only the gateway sees."""
    for container in form.all:
        for source in container.get("envFrom", []):
            report.expect("secretRef" not in source, f"{container['name']}: a Secret as environment variables")
        for variable in container.get("env", []):
            report.expect(
                "secretKeyRef" not in variable.get("valueFrom", {}) and not SECRET_NAME.search(variable["name"]),
                f"{container['name']}: secret in the environment: {variable['name']}",
            )
        for word in [*container.get("command", []), *container.get("args", [])]:
            report.expect(not SECRET_NAME.search(word), f"{container['name']}: secret as an argument")
    mount, volume = form.mount("secret")
    report.expect(volume["secret"]["secretName"] == form.secret["metadata"]["name"], "another Secret than the example")
    mode = volume["secret"].get("defaultMode")
    report.expect(mode in (0o400, 0o440), f"credential files: defaultMode is {oct(mode or 0o644)}")
    group = form.pod["securityContext"].get("fsGroup")
    report.expect(group == USER, "credential files: fsGroup is not the gateway's group")
    for found in [mount, form.mount("configMap")[0]]:
        report.expect(found.get("readOnly") is True, f"{found['mountPath']}: not mounted read-only")
        report.expect("subPath" not in found, f"{found['mountPath']}: subPath, changes would not arrive")
    for container in form.all:
        if container is not form.gateway:
            mounted = {m["name"] for m in container.get("volumeMounts", [])}
            report.expect(volume["name"] not in mounted, f"{container['name']} sees the credentials")
    stored = form.secret.get("stringData", {})
    report.expect("data" not in form.secret, "secret.example.yaml has data")
    report.expect(all(v == PLACEHOLDER for v in stored.values()), f"secret.example.yaml holds more than {PLACEHOLDER}")
    used = set()
    for name, upstream in form.config["upstreams"].items():
        credential = upstream.get("credential", {})
        credential = credential.get("oauth2", {}).get("client_secret", credential)
        if report.expect(set(credential) == {"file"}, f"upstream {name}: the credential is not a file"):
            path = PurePosixPath(credential["file"])
            report.expect(str(path.parent) == mount["mountPath"], f"upstream {name}: {path} is not mounted")
            used.add(path.name)
    report.expect(
        used == set(stored), f"secret.example.yaml has {sorted(stored)}, the configuration uses {sorted(used)}"
    )


def configuration(report: Report, form: Form, command: list[str]):
    """The embedded configuration fits the manifest around it. `parlance check` judges the rest."""
    config = form.config
    mount, _ = form.mount("configMap")
    arguments = form.gateway.get("args", command)
    report.expect("command" not in form.gateway, "the image's entrypoint is replaced")
    report.expect(
        arguments == ["serve", "--config", f"{mount['mountPath']}/parlance.toml"],
        f"arguments {arguments} do not name the mounted configuration",
    )
    api, api_port = listener(config, "server")
    admin, admin_port = listener(config, "admin")
    report.expect(api_port != admin_port, "both listeners on one port")
    report.expect(not admin.is_loopback, "admin on loopback: the kubelet could not probe it")
    open_ports = {"admin": admin_port} if api.is_loopback else {"api": api_port, "admin": admin_port}
    ports = {port["name"]: port["containerPort"] for port in form.gateway["ports"]}
    report.expect(ports == open_ports, f"containerPorts {ports}, but the listeners off loopback are {open_ports}")
    for probe, path in (("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        get = form.gateway.get(probe, {}).get("httpGet", {})
        report.expect(get.get("path") == path, f"{probe}: path {get.get('path')}, not {path}")
        port = ports.get(get.get("port"), get.get("port"))
        report.expect(port == admin_port, f"{probe}: port {get.get('port')} is not the admin listener")
        report.expect("host" not in get, f"{probe}: asks another host")
    notes = form.deployment["spec"]["template"]["metadata"].get("annotations", {})
    report.expect(notes.get("prometheus.io/port") == str(admin_port), "scraped on another port than admin's")
    report.expect(api.is_loopback == form.sidecar, "API listener: loopback is for the sidecar, and for it only")
    callers = config.get("callers", [])
    report.expect(api.is_loopback or callers, "API listener off loopback without callers")
    upstreams = set(config["upstreams"])
    for caller in callers:
        digest = caller["key_sha256"]
        report.expect(re.fullmatch("[0-9a-f]{64}", digest), f"caller {caller['name']}: key_sha256 is no SHA-256")
        report.expect(set(caller.get("upstreams", [])) <= upstreams, f"caller {caller['name']}: unknown upstream")
    for field in ("name", "key_sha256"):
        report.expect(len({c[field] for c in callers}) == len(callers), f"two callers with one {field}")
    named = [route["upstream"] for route in config.get("routes", [])]
    named += [config["default_upstream"]] if "default_upstream" in config else []
    report.expect(set(named) <= upstreams, f"routes to unknown upstreams: {sorted(set(named) - upstreams)}")
    longest = [config.get("defaults", {}), *config["upstreams"].values()]
    longest = max([seconds(c["timeout"]) for c in longest if "timeout" in c], default=TIMEOUT)
    drain = seconds(config["server"]["drain_delay"]) if "drain_delay" in config["server"] else DRAIN
    grace = form.pod.get("terminationGracePeriodSeconds", 30)
    report.expect(
        grace >= drain + longest + SPARE,
        f"terminationGracePeriodSeconds {grace} is less than drain {drain:g} + timeout {longest:g} + {SPARE:g}",
    )
    report.expect("lifecycle" not in form.gateway, "preStop: the drain already waits, and the image has no shell")


def native_sidecar(report: Report, form: Form):
    inits = form.pod.get("initContainers", [])
    report.expect(form.gateway in inits, "the gateway is not a native sidecar (initContainers)")
    report.expect(form.gateway.get("restartPolicy") == "Always", "the gateway's restartPolicy is not Always")
    report.expect("startupProbe" in form.gateway, "no startupProbe: the application would not wait for it")
    resources = form.gateway["resources"]
    report.expect(resources["requests"] == {"cpu": "20m", "memory": "32Mi"}, "requests are not 20m and 32Mi")
    report.expect(resources["limits"] == {"memory": "96Mi"}, "the limit is not 96Mi")
    _, port = listener(form.config, "server")
    urls = [v.get("value") for c in form.pod["containers"] for v in c.get("env", [])]
    report.expect(f"http://127.0.0.1:{port}" in urls, "the application is not told the gateway's address")


def shared_service(report: Report, form: Form):
    spec = form.deployment["spec"]
    labels = spec["template"]["metadata"]["labels"]
    _, api_port = listener(form.config, "server")
    _, admin_port = listener(form.config, "admin")
    report.expect(form.gateway in form.pod["containers"], "the gateway is not the Pod's container")
    report.expect(spec["replicas"] >= 2, "less than two replicas")
    rolling = spec["strategy"].get("rollingUpdate", {})
    report.expect(
        spec["strategy"]["type"] == "RollingUpdate" and rolling.get("maxUnavailable") == 0, "maxUnavailable is not 0"
    )
    spread = form.pod.get("topologySpreadConstraints", [])
    report.expect(any(s["topologyKey"] == "kubernetes.io/hostname" for s in spread), "not spread over nodes")
    report.expect(all(selects(s["labelSelector"], labels) for s in spread), "spreads other Pods")
    keys = [(s["topologyKey"], s["whenUnsatisfiable"]) for s in spread]
    report.expect(len(keys) == len(set(keys)), "a topology spread constraint is there twice")

    (service,) = form.of("Service")
    report.expect(selects({"matchLabels": service["spec"]["selector"]}, labels), "Service selects other Pods")
    report.expect(service["spec"].get("type", "ClusterIP") == "ClusterIP", "Service is open to the outside")
    names = {port["name"]: port["containerPort"] for port in form.gateway["ports"]}
    targets = {names.get(p["targetPort"], p["targetPort"]) for p in service["spec"]["ports"]}
    report.expect(targets == {api_port}, f"Service leads to {sorted(map(str, targets))}, not to the API alone")
    in_memory = form.config.get("idempotency", {}).get("store", "memory") == "memory"
    report.expect(
        not in_memory or service["spec"].get("sessionAffinity") == "ClientIP",
        "records in memory, but a client is not kept on one replica",
    )

    (budget,) = form.of("PodDisruptionBudget")
    report.expect(selects(budget["spec"]["selector"], labels), "PodDisruptionBudget selects other Pods")
    gone = budget["spec"].get("maxUnavailable", 0)
    report.expect(1 <= gone < spec["replicas"], "PodDisruptionBudget blocks every drain, or lets all go")

    (account,) = form.of("ServiceAccount")
    report.expect(form.pod.get("serviceAccountName") == account["metadata"]["name"], "another ServiceAccount")
    report.expect(account.get("automountServiceAccountToken") is False, "ServiceAccount gives out a token")

    (policy,) = form.of("NetworkPolicy")
    policy = policy["spec"]
    report.expect(selects(policy["podSelector"], labels), "NetworkPolicy selects other Pods")
    report.expect(set(policy["policyTypes"]) == {"Ingress", "Egress"}, "NetworkPolicy leaves a direction open")
    allowed = {}
    for rule in policy["ingress"]:
        peers = rule.get("from", [])
        report.expect(peers, "NetworkPolicy: ingress from anywhere")
        for peer in peers:
            wanted = peer.get("namespaceSelector", {}).get("matchLabels", {})
            report.expect(wanted and "ipBlock" not in peer, "NetworkPolicy: ingress not by a namespace's label")
        for port in rule.get("ports", [{"port": None}]):
            allowed.setdefault(port["port"], []).extend(p["namespaceSelector"]["matchLabels"] for p in peers)
    report.expect(set(allowed) == {api_port, admin_port}, f"NetworkPolicy: ingress on {list(allowed)}")
    report.expect(
        all(w.get("kubernetes.io/metadata.name") == "monitoring" for w in allowed[admin_port]),
        "NetworkPolicy: admin is open to more than monitoring",
    )
    out = set()
    for rule in policy["egress"]:
        ports = {(p.get("protocol", "TCP"), p["port"]) for p in rule.get("ports", [{"port": None}])}
        out |= ports
        report.expect(rule.get("to"), "NetworkPolicy: egress to anywhere")
        for peer in rule.get("to", []):
            if "ipBlock" in peer:
                report.expect(ports == {("TCP", 443)}, "NetworkPolicy: addresses are reached by more than 443")
                network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
                holes = [ipaddress.ip_network(cidr) for cidr in peer["ipBlock"].get("except", [])]
                report.expect(all(hole.subnet_of(network) for hole in holes), "NetworkPolicy: except outside its cidr")
                inner = ["10.1.2.3", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1"]
                inner = inner if network.version == 4 else ["fd00:ec2::254", "fe80::1"]
                for address in map(ipaddress.ip_address, inner):
                    report.expect(any(address in hole for hole in holes), f"NetworkPolicy: {address} can be reached")
    report.expect(out == {("TCP", 443), ("UDP", 53), ("TCP", 53)}, f"NetworkPolicy: egress on {sorted(map(str, out))}")


def kustomize_files(report: Report, root: Path, with_kubectl: bool):
    directories = sorted(path.parent for path in (root / "deploy/kustomize").rglob("kustomization.yaml"))
    for directory in directories:
        place = directory.relative_to(root)
        wanted = manifests.referenced(directory)
        for path in wanted:
            report.expect(path.exists(), f"{place}: {path.name} does not exist")
        present = {p for p in directory.iterdir() if p.is_file() and ".example." not in p.name}
        unused = present - set(wanted) - {directory / "kustomization.yaml"}
        report.expect(not unused, f"{place}: in no kustomization: {sorted(p.name for p in unused)}")
        if with_kubectl:
            same = manifests.comparable(manifests.build(directory)) == manifests.comparable(
                manifests.kubectl_build(directory)
            )
            report.expect(same, f"{place}: kubectl builds something else than manifests.py")


def no_real_keys(report: Report, root: Path):
    for path in sorted(p for p in (root / "deploy").rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8")
        report.expect(not REAL_KEY.search(text), f"{path.name}: looks like a real key")
        made_up = all(digest == digest[:16] * 4 for digest in re.findall(r"\b[0-9a-f]{64}\b", text))
        report.expect(made_up, f"{path.name}: a hash that could belong to a key")


def readme(report: Report, root: Path):
    text = (root / "deploy/README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        report.expect((root / "deploy" / target).exists(), f"link to {target}, which does not exist")
    for path in re.findall(r"\b(?:deploy|tests/deploy)/[\w./-]*\w", text):
        report.expect((root / path).exists(), f"names {path}, which does not exist")


# ---- the image -----------------------------------------------------------------------------------------------------


def in_context(path: str, rules: list[str]) -> bool:
    """Whether the ignore file lets this path into the build context: the last rule that matches decides."""
    parts = path.split("/")
    included = True
    for rule in rules:
        wanted = rule.lstrip("!").strip("/").split("/")
        anywhere = wanted[0] == "**"
        wanted = wanted[1:] if anywhere else wanted
        for start in range(len(parts)) if anywhere else [0]:
            piece = parts[start : start + len(wanted)]
            if len(piece) == len(wanted) and all(map(fnmatch.fnmatchcase, piece, wanted)):
                included = rule.startswith("!")
    return included


def ignore_rules(root: Path) -> list[str]:
    lines = (root / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    strange = [r for r in rules if "**" in r.removeprefix("!").removeprefix("**/") or re.search(r"[\[\]?\\]", r)]
    if strange:
        raise ValueError(f"ignore rules that this check does not understand: {strange}")
    return rules


def context_files(root: Path) -> list[str]:
    rules = ignore_rules(root)
    found = []
    for top in sorted(root.iterdir()):
        if in_context(top.name, rules) or any(rule.startswith(f"!{top.name}/") for rule in rules):
            paths = [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]
            found += [name for p in paths if in_context(name := p.relative_to(root).as_posix(), rules)]
    return found


def build_context(report: Report, root: Path, with_cargo: bool):
    rules = ignore_rules(root)
    files = context_files(root)
    report.expect("Cargo.lock" in files, "Cargo.lock is not in the build context")
    for path in (".git/config", ".env", "src/.env.local", "config/tls.key", "config/ca.pem", "target/release/parlance",
                 "adapters/target/x", "benches/x/run", "deploy/Dockerfile", "tests/run", "id_rsa"):  # fmt: skip
        report.expect(not in_context(path, rules), f"{path} would be in the build context")
    for name in [f for f in files if f.endswith(".rs")]:
        source = (root / name).read_text(encoding="utf-8")
        crate = next(p for p in (root / name).parents if (p / "Cargo.toml").exists())
        beside = re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source)
        below = re.findall(r'include_(?:str|bytes)!\(\s*concat!\(\s*env!\("CARGO_MANIFEST_DIR"\),\s*"/([^"]+)"', source)
        for target in [*((root / name).parent / path for path in beside), *(crate / path for path in below)]:
            target = target.resolve().relative_to(root.resolve()).as_posix()
            report.expect(target in files, f"{name} compiles in {target}, which is not in the build context")
    for manifest in [f for f in files if PurePosixPath(f).name == "Cargo.toml"]:
        crate, content = PurePosixPath(manifest).parent, tomllib.loads((root / manifest).read_text(encoding="utf-8"))
        # cargo builds nothing if a target is named whose usual file is not there, even one that is not wanted.
        for kind, folder in (("bench", "benches"), ("test", "tests"), ("example", "examples"), ("bin", "src/bin")):
            for name in [target["name"] for target in content.get(kind, []) if "path" not in target]:
                usual = {(crate / folder / f"{name}.rs").as_posix(), (crate / folder / name / "main.rs").as_posix()}
                usual |= {(crate / "src/main.rs").as_posix()} if kind == "bin" else set()
                report.expect(usual & set(files), f"{manifest}: {kind} {name} is not in the build context")
    if with_cargo:
        with tempfile.TemporaryDirectory() as directory:
            for name in files:
                target = Path(directory, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, target)
            result = subprocess.run(
                ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"],
                cwd=directory, capture_output=True, text=True,
            )  # fmt: skip
            complete = report.expect(
                result.returncode == 0, f"cargo cannot read the build context: {result.stderr.strip()}"
            )
            targets = [t for p in json.loads(result.stdout)["packages"] for t in p["targets"]] if complete else []
            found = any(t["name"] == "parlance" and t["kind"] == ["bin"] for t in targets)
            report.expect(found, "the build context has no binary parlance")


def image_file(report: Report, root: Path, form_list: list[Form]):
    text = (root / "deploy/Dockerfile").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as directory:
        parser = DockerfileParser(directory)
        parser.content = text
        steps = [(s["instruction"], s["value"]) for s in parser.structure if s["instruction"] != "COMMENT"]
    toolchain = tomllib.loads((root / "rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"]["channel"]

    stages: list[dict] = []
    for instruction, value in steps:
        if instruction == "FROM":
            match = re.fullmatch(r"(\S+)(?:\s+AS\s+(\S+))?", value, re.I)
            report.expect(match, f"FROM {value}: not understood")
            stages.append({"image": match[1], "name": match[2], "steps": []})
            earlier = {stage["name"] for stage in stages[:-1]}
            tag = image_tag(match[1])
            explicit = tag not in ("", "latest") and "$" not in match[1]
            report.expect(match[1] in earlier or explicit, f"FROM {match[1]}: no explicit tag")
        else:
            stages[-1]["steps"].append((instruction, value))
    report.expect(len(stages) >= 2, "not a multi-stage build")
    build, final = stages[0], stages[-1]

    report.expect(not any(i in ("ADD", "MAINTAINER", "ONBUILD", "SHELL") for i, _ in steps), "ADD, ONBUILD or SHELL")
    for instruction, value in steps:
        if instruction in ("ARG", "ENV", "LABEL"):
            report.expect(not SECRET_NAME.search(value), f"{instruction} {value}: a secret would stay in the image")
    rust = re.fullmatch(r"rust:(\d+\.\d+\.\d+)-slim-(\w+)", build["image"])
    if report.expect(rust, f"{build['image']} is not an exact version of Rust on slim Debian"):
        report.expect(rust[1] == toolchain, f"{build['image']} is not the version of rust-toolchain.toml")
        release = {"bookworm": "debian12", "trixie": "debian13"}.get(rust[2])
        report.expect(
            final["image"] == f"gcr.io/distroless/cc-{release}:nonroot",
            f"{final['image']} is not distroless cc, nonroot, of the same Debian",
        )
    runs = [value for instruction, value in build["steps"] if instruction == "RUN"]
    report.expect(
        any(re.search(r"cargo build\b(?=.*--release)(?=.*--locked)(?=.*--no-default-features)", r, re.S) for r in runs),
        "no `cargo build --release --locked --no-default-features`",
    )

    rules, files = ignore_rules(root), context_files(root)
    for stage in stages:
        for value in [v for i, v in stage["steps"] if i == "COPY"]:
            flags = [word for word in value.split() if word.startswith("--")]
            *sources, target = [word for word in value.split() if not word.startswith("--")]
            origin = [flag.partition("=")[2] for flag in flags if flag.startswith("--from=")]
            if origin:
                report.expect(origin[0] in {s["name"] for s in stages}, f"COPY from {origin[0]}, which is no stage")
                report.expect(all(any(s in r for r in runs) for s in sources), f"COPY {sources}: nothing makes it")
            else:
                for source in sources:
                    inside = source == "." or any(f == source or f.startswith(f"{source}/") for f in files)
                    report.expect(
                        (root / source).exists() and inside, f"COPY {source}: not in the repository's build context"
                    )
                    report.expect(source != "." or rules[0] == "*", "COPY . without an allow-list")

    last = dict(final["steps"])
    report.expect("RUN" not in last, "RUN in the final image, which has no shell")
    report.expect(
        all("--from=" in v for i, v in final["steps"] if i == "COPY"), "the final image takes files from the context"
    )
    user = re.fullmatch(r"(\d+)(?::(\d+))?", last.get("USER", ""))
    report.expect(user and int(user[1]) == USER, f"USER {last.get('USER')} is not the number {USER}")
    entry, command = exec_form(last.get("ENTRYPOINT")), exec_form(last.get("CMD"))
    report.expect(entry, "ENTRYPOINT is not in exec form")
    report.expect(entry and any(v.split()[-1] == entry[0] for i, v in final["steps"] if i == "COPY"),
                  "ENTRYPOINT is not the copied binary")  # fmt: skip
    report.expect(command == ["serve", "--config", "/etc/parlance/parlance.toml"], f"CMD is {last.get('CMD')}")
    exposed = set(map(int, last.get("EXPOSE", "").split()))
    for form in form_list:
        ports = {listener(form.config, name)[1] for name in ("server", "admin")}
        report.expect(exposed == ports, f"EXPOSE {sorted(exposed)}, but {form.name} listens on {sorted(ports)}")


def exec_form(value: str | None) -> list[str] | None:
    try:
        words = json.loads(value or "")
    except json.JSONDecodeError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def image_command(root: Path) -> list[str]:
    text = (root / "deploy/Dockerfile").read_text(encoding="utf-8")
    return json.loads(re.findall(r"^CMD (.+)$", text, re.M)[-1])


# ---- all together --------------------------------------------------------------------------------------------------


def check(root: Path, versions: list[str], tools: bool) -> Report:
    report = Report()
    cargo = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))
    version = cargo["workspace"]["package"]["version"]
    found: list[Form] = []

    def load(report: Report):
        found.extend(forms(root))
        report.expect(len(found) == 3, "not three forms")

    def everything(report: Report, form: Form):
        schemas(report, form, versions)
        names(report, form)
        pod_security(report, form)
        images(report, form, version)
        secrets(report, form)
        configuration(report, form, image_command(root))
        (native_sidecar if form.sidecar else shared_service)(report, form)

    report.run("kustomize", kustomize_files, root, tools and bool(shutil.which("kubectl")))
    report.run("manifests", load)
    for form in found:
        report.run(form.name, everything, form)
    report.run("Dockerfile", image_file, root, found)
    report.run("build context", build_context, root, tools and bool(shutil.which("cargo")))
    report.run("deploy", no_real_keys, root)
    report.run("README.md", readme, root)
    return report


def print_configs(root: Path, directory: Path) -> list[Path]:
    """Each form's configuration as a file that can be checked here: the credentials are files beside it."""
    written = []
    for form in forms(root):
        mounted = form.mount("secret")[0]["mountPath"]
        own = (directory / "secrets" / form.name).resolve()
        own.mkdir(parents=True, exist_ok=True)
        for key, value in form.secret["stringData"].items():
            (own / key).unlink(missing_ok=True)
            (own / key).write_text(value, encoding="utf-8")
            (own / key).chmod(0o400)
        path = directory / f"{form.name}.toml"
        path.write_text(form.text.replace(mounted, str(own)), encoding="utf-8")
        written.append(path)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="break every file on purpose and expect objections")
    parser.add_argument("--print-configs", metavar="DIR", type=Path, help="write the embedded configurations")
    options = parser.parse_args()
    if options.print_configs:
        for path in print_configs(ROOT, options.print_configs):
            print(path)
        return 0
    if options.self_test:
        import mutations

        passed, failures = mutations.run(ROOT, lambda root: check(root, VERSIONS[-1:], tools=False))
    else:
        for tool in ("kubectl", "cargo"):
            if not shutil.which(tool):
                print(f"note: {tool} is not installed, what it would confirm is not checked")
        report = check(ROOT, VERSIONS, tools=True)
        passed, failures = report.passed, report.failures
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
