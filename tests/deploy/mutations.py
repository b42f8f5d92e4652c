"""Faults put into deploy/ on purpose: (file, text, its replacement, a part of the objection that must come).

An empty text appends, a replacement of None deletes the file. Where a text occurs more than once, its first
occurrence is meant.
"""

import shutil
import tempfile
from pathlib import Path

SIDECAR = "sidecar/sidecar.yaml"
BASE = "kustomize/base/"
PRODUCTION = "kustomize/overlays/production/"

FAULTS = [
    # The schemas object to what is misspelled, of the wrong type, missing or given twice.
    (SIDECAR, "livenessProbe:", "livenessprobe:", "livenessprobe"),
    (SIDECAR, "periodSeconds: 1\n", 'periodSeconds: "1"\n', "not of type"),
    (SIDECAR, "replicas: 1\n", "replicas: 1\n  replicas: 2\n", "given twice"),
    (BASE + "deployment.yaml", "readOnlyRootFilesystem:", "readonlyRootFilesystem:", "readonlyRootFilesystem"),
    (BASE + "deployment.yaml", "apiVersion: apps/v1", "apiVersion: extensions/v1beta1", "find schema"),
    (BASE + "service.yaml", "targetPort: api", "targetport: api", "targetport"),
    (BASE + "networkpolicy.yaml", "namespaceSelector:", "nameSpaceSelector:", "nameSpaceSelector"),
    (BASE + "poddisruptionbudget.yaml", "maxUnavailable: 1", "maxUnavailabel: 1", "maxUnavailabel"),
    (BASE + "serviceaccount.yaml", "automountServiceAccountToken", "automountServiceToken", "automountServiceToken"),
    (BASE + "namespace.yaml", "  labels:", "  label:", "'label' was unexpected"),
    (PRODUCTION + "deployment.patch.yaml", "maxSkew: 1", "maxskew: 1", "maxSkew"),
    ("sidecar/secret.example.yaml", "stringData:", "stringdata:", "stringdata"),
    # Pod security.
    (SIDECAR, "pod-security.kubernetes.io/enforce: restricted", "pod-security.kubernetes.io/enforce: baseline", "enforce"),
    (BASE + "namespace.yaml", "enforce: restricted", "enforce: privileged", "enforce"),
    (SIDECAR, '              drop: ["ALL"]', '              drop: ["ALL"]\n              add: ["NET_ADMIN"]', "drop ALL"),
    (SIDECAR, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation"),
    (SIDECAR, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem"),
    (SIDECAR, "runAsUser: 65532", "runAsUser: 0", "root"),
    (SIDECAR, "runAsUser: 10001", "runAsUser: 65532", "the gateway's user"),
    (SIDECAR, "automountServiceAccountToken: false", "automountServiceAccountToken: true", "automountServiceAccountToken"),
    (SIDECAR, "enableServiceLinks: false", "enableServiceLinks: false\n      shareProcessNamespace: true", "shareProcess"),
    (BASE + "deployment.yaml", "            runAsNonRoot: true\n", "", "runAsNonRoot"),
    (BASE + "deployment.yaml", "type: RuntimeDefault", "type: Unconfined", "seccompProfile"),
    (BASE + "deployment.yaml", "          securityContext:\n            runAsNonRoot", "          securityContext: {}\n          x:\n            runAsNonRoot", "capabilities"),
    (BASE + "deployment.yaml", "          configMap:\n            name: parlance-config\n", "          hostPath:\n            path: /etc\n", "not"),
    (BASE + "deployment.yaml", "            limits:\n              memory: 256Mi\n", "", "no memory limit"),
    (BASE + "serviceaccount.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "gives out a token"),
    (PRODUCTION + "deployment.patch.yaml", "      containers:", "      hostNetwork: true\n      containers:", "hostNetwork"),
    # Images.
    (SIDECAR, "parlance:0.1.0", "parlance:latest", "image tag"),
    (SIDECAR, "your-app:1.0.0", "your-app", "image tag"),
    (BASE + "deployment.yaml", "parlance:0.1.0", "parlance:0.0.9", "workspace's version"),
    (PRODUCTION + "kustomization.yaml", 'newTag: "0.1.0"', 'newTag: "latest"', "image tag"),
    # Secrets.
    (SIDECAR, "- name: CONVERSATIONS_URL", "- name: API_KEY", "secret in the environment"),
    (SIDECAR, "              value: http", "              valueFrom: {secretKeyRef: {name: x, key: y}}\n            - name: URL\n              value: http", "secret in the environment"),
    (SIDECAR, '{ file = "/run/secrets/parlance/sales" }', '{ env = "SALES" }', "not a file"),
    (SIDECAR, "secrets/parlance/sales", "secrets/other/sales", "is not mounted"),
    (SIDECAR, "defaultMode: 0440", "defaultMode: 0444", "defaultMode"),
    (SIDECAR, "fsGroup: 65532", "fsGroup: 1000", "fsGroup"),
    (SIDECAR, "readOnly: true", "readOnly: false", "read-only"),
    (SIDECAR, "mountPath: /etc/parlance\n", "mountPath: /etc/parlance\n              subPath: x\n", "subPath"),
    (SIDECAR, "          env:\n", "          volumeMounts: [{name: parlance-credentials, mountPath: /c}]\n          env:\n", "sees the credentials"),
    ("sidecar/secret.example.yaml", "sales: REPLACE-ME", "sales: hunter2", "holds more"),
    ("sidecar/secret.example.yaml", "  support: REPLACE-ME\n", "", "the configuration uses"),
    (BASE + "secret.example.yaml", "  sales:", "  sale:", "the configuration uses"),
    (BASE + "secret.example.yaml", "namespace: parlance", "namespace: default", "another namespace"),
    (PRODUCTION + "secret.example.yaml", "name: parlance-credentials", "name: other", "another Secret"),
    (PRODUCTION + "parlance.toml", '{ file = "/run/secrets/parlance/planning" }', '{ value = "x" }', "not a file"),
    (PRODUCTION + "parlance.toml", "fedcba9876543210fedc", "fedcba9876543211fedc", "could belong to a key"),
    ("README.md", "", "\n    curl -H 'Authorization: Bearer sk-live-123'\n", "real key"),
    # Probes, ports and the embedded configuration.
    (SIDECAR, "path: /livez", "path: /healthz", "livenessProbe: path"),
    (SIDECAR, "              port: admin", "              port: 8080", "startupProbe: port"),
    (BASE + "deployment.yaml", "          readinessProbe:\n            httpGet:\n              path: /readyz\n              port: admin", "          readinessProbe:\n            httpGet:\n              path: /readyz\n              port: api", "readinessProbe: port"),
    (BASE + "deployment.yaml", "containerPort: 9090", "containerPort: 9091", "containerPorts"),
    (SIDECAR, 'listen = "0.0.0.0:9090"', 'listen = "127.0.0.1:9090"', "admin on loopback"),
    (SIDECAR, 'listen = "127.0.0.1:8080"', 'listen = "0.0.0.0:8080"', "loopback is for the sidecar"),
    (SIDECAR, 'listen = "127.0.0.1:8080"', 'listen = "127.0.0.1:8080', "TOMLDecodeError"),
    (SIDECAR, 'default_upstream = "sales"', 'default_upstream = "sale"', "unknown upstream"),
    (SIDECAR, 'timeout = "10s"', 'timeout = "60s"', "terminationGracePeriodSeconds"),
    (SIDECAR, "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 10", "terminationGracePeriodSeconds"),
    (SIDECAR, "mountPath: /etc/parlance\n", "mountPath: /etc/gateway\n", "do not name the mounted configuration"),
    (BASE + "parlance.toml", 'listen = "0.0.0.0:8080"', 'listen = "0.0.0.0:8081"', "containerPorts"),
    (BASE + "parlance.toml", "\n[[callers]]", "\n[[caller]]", "without callers"),
    (BASE + "parlance.toml", 'key_sha256 = "0123', 'key_sha256 = "012', "no SHA-256"),
    (BASE + "parlance.toml", '["sales", "support"]', '["sales", "suport"]', "unknown upstream"),
    (BASE + "parlance.toml", 'timeout = "10s"', 'timeout = "30s"', "terminationGracePeriodSeconds"),
    (PRODUCTION + "parlance.toml", 'upstream = "sms"', 'upstream = "text"', "unknown upstreams"),
    (PRODUCTION + "deployment.patch.yaml", "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 29", "terminationGracePeriodSeconds"),
    (BASE + "deployment.yaml", "          startupProbe:", "          lifecycle: {preStop: {sleep: {seconds: 5}}}\n          startupProbe:", "preStop"),
    # The sidecar.
    (SIDECAR, "          restartPolicy: Always\n", "", "restartPolicy"),
    (SIDECAR, "startupProbe:", "x-startupProbe:", "startupProbe"),
    (SIDECAR, "      initContainers:\n", "      containers:\n", "given twice"),
    (SIDECAR, "memory: 96Mi", "memory: 512Mi", "96Mi"),
    (SIDECAR, "value: http://127.0.0.1:8080", "value: http://127.0.0.1:8081", "gateway's address"),
    # The shared service.
    (BASE + "deployment.yaml", "maxUnavailable: 0", "maxUnavailable: 1", "maxUnavailable"),
    (BASE + "deployment.yaml", "replicas: 2", "replicas: 1", "two replicas"),
    (BASE + "deployment.yaml", "topologyKey: kubernetes.io/hostname", "topologyKey: rack", "not spread"),
    (PRODUCTION + "deployment.patch.yaml", "app.kubernetes.io/name: parlance", "app.kubernetes.io/name: other", "spreads other"),
    (BASE + "service.yaml", "targetPort: api", "targetPort: admin", "Service leads to"),
    (BASE + "service.yaml", "    app.kubernetes.io/name: parlance\n  ports", "    app.kubernetes.io/name: gateway\n  ports", "Service selects"),
    (BASE + "service.yaml", "type: ClusterIP", "type: LoadBalancer", "open to the outside"),
    (BASE + "service.yaml", "  sessionAffinity: ClientIP\n", "", "kept on one replica"),
    (BASE + "poddisruptionbudget.yaml", "maxUnavailable: 1", "maxUnavailable: 0", "PodDisruptionBudget"),
    (BASE + "networkpolicy.yaml", "          port: 9090", "          port: 9091", "ingress on"),
    (BASE + "networkpolicy.yaml", "    - from:\n        - namespaceSelector:\n            matchLabels:\n              parlance-caller: \"true\"\n      ports", "    - ports", "from anywhere"),
    (BASE + "networkpolicy.yaml", "kubernetes.io/metadata.name: monitoring", "parlance-caller: \"true\"", "more than monitoring"),
    (BASE + "networkpolicy.yaml", "              - 169.254.0.0/16\n", "", "169.254.169.254"),
    (BASE + "networkpolicy.yaml", "          port: 443", "          port: 80", "egress on"),
    (BASE + "networkpolicy.yaml", '["Ingress", "Egress"]', '["Ingress"]', "leaves a direction open"),
    # Kustomize.
    (BASE + "kustomization.yaml", "  - service.yaml\n", "  - services.yaml\n", "does not exist"),
    (BASE + "kustomization.yaml", "  - networkpolicy.yaml\n", "", "in no kustomization"),
    (PRODUCTION + "kustomization.yaml", "behavior: replace", "behaviour: replace", "ValueError"),
    (PRODUCTION + "kustomization.yaml", "patches:", "patchs:", "not understood"),
    (PRODUCTION + "kustomization.yaml", "count: 3", "count: 1", "two replicas"),
    (PRODUCTION + "parlance.toml", "", None, "does not exist"),
    # The image.
    ("Dockerfile", "cc-debian12:nonroot", "cc-debian12:latest", "no explicit tag"),
    ("Dockerfile", "cc-debian12:nonroot", "cc-debian13:nonroot", "same Debian"),
    ("Dockerfile", "rust:1.95.0-slim", "rust:1.80.0-slim", "not the version of rust-toolchain.toml"),
    ("Dockerfile", "rust:1.95.0-slim-bookworm", "rust", "no explicit tag"),
    ("Dockerfile", "USER 65532:65532", "USER nonroot", "USER"),
    ("Dockerfile", "USER 65532:65532\n", "", "USER"),
    ("Dockerfile", "--release --locked", "--release", "--locked"),
    ("Dockerfile", "--locked --no-default-features", "--locked", "--no-default-features"),
    ("Dockerfile", "COPY . .", "COPY Cargo.toml Cargo.lck ./", "Cargo.lck"),
    ("Dockerfile", "COPY . .", "ADD . .", "ADD"),
    ("Dockerfile", "ARG TARGETPLATFORM", "ARG REGISTRY_TOKEN", "stay in the image"),
    ("Dockerfile", '["/usr/local/bin/parlance"]', "/usr/local/bin/parlance", "exec form"),
    ("Dockerfile", "/parlance.toml\"]", "/config.toml\"]", "CMD"),
    ("Dockerfile", "EXPOSE 8080 9090", "EXPOSE 8080", "EXPOSE"),
    ("Dockerfile", "COPY --from=build /parlance", "COPY --from=build /gateway", "nothing makes it"),
    ("Dockerfile", "EXPOSE", "RUN true\nEXPOSE", "no shell"),
    ("Dockerfile.dockerignore", "!Cargo.lock\n", "", "Cargo.lock"),
    ("Dockerfile.dockerignore", "**/.env*\n", "", ".env"),
    ("Dockerfile.dockerignore", "\n*\n", "\n", "allow-list"),
    ("README.md", "", "\n[gone](gone.md)\n", "does not exist"),
]  # fmt: skip


def run(root: Path, check) -> tuple[int, list[str]]:
    """Applies each fault to a copy; returns how many were objected to as expected, and the others."""
    passed, failures = 0, []
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "copy")
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".git", "target", ".venv", "__pycache__"))
        sound = check(copy)
        if sound.failures:
            return 0, ["the copy without a fault:", *sound.failures]
        for name, text, replacement, expected in FAULTS:
            path = copy / "deploy" / name
            original = path.read_text(encoding="utf-8")
            if text not in original:
                failures.append(f"{name}: the fault does not apply any more: {text!r}")
                continue
            if replacement is None:
                path.unlink()
            else:
                path.write_text(
                    original.replace(text, replacement, 1) if text else original + replacement, encoding="utf-8"
                )
            objections = check(copy).failures
            if any(expected in objection for objection in objections):
                passed += 1
            else:
                failures.append(f"{name}: {text!r} -> {replacement!r}: no word of {expected!r} in {objections}")
            path.write_text(original, encoding="utf-8")
        untested = {p.relative_to(copy / "deploy").as_posix() for p in (copy / "deploy").rglob("*") if p.is_file()}
        untested -= {fault[0] for fault in FAULTS}
        failures += [f"{name}: no fault is tried in it" for name in sorted(untested)]
    return passed, failures
