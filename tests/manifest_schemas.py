"""JSON schemas of what the manifests in cluster/ use of Kubernetes and KubeRay, and nothing else: an unknown field is an error.

Written from the field reference of KubeRay's API ray.io/v1 (docs.ray.io, "KubeRay CRD API reference", v1.6.2) and of Kubernetes
v1.30 (PodSpec, Container, PersistentVolumeClaim). Reduced on purpose: a field that a manifest starts to use is added here, after
a look at that reference.
"""

__all__ = ["PERSISTENT_VOLUME_CLAIM", "RAY_CLUSTER", "RAY_JOB"]

TEXT, WHOLE, YES_NO = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
PREFIX = {"type": "string", "pattern": "^[a-z0-9][-a-z0-9]*$", "maxLength": 58}
QUANTITY = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def _object(required: str = "", **properties: dict) -> dict:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


def _list(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


RESOURCES = _object("requests", requests=QUANTITIES, limits=QUANTITIES)
PORT = _object("containerPort", containerPort={"type": "integer", "minimum": 1, "maximum": 65535}, name=NAME)
SECRET = _object("name", name=NAME)
MOUNT = _object("name mountPath", name=NAME, mountPath={"type": "string", "pattern": "^/"})
CONTAINER = _object(
    "name image resources",
    name=NAME,
    image={"type": "string", "pattern": "^[^ ]+:[^ ]+$"},
    ports=_list(PORT),
    resources=RESOURCES,
    envFrom=_list(_object("secretRef", secretRef=SECRET)),
    volumeMounts=_list(MOUNT),
)
VOLUME = _object(
    "name",
    name=NAME,
    persistentVolumeClaim=_object("claimName", claimName=NAME),
    emptyDir=_object(medium={"enum": ["", "Memory"]}, sizeLimit=QUANTITY),
)
TEMPLATE = _object("spec", spec=_object("containers", containers=_list(CONTAINER), volumes=_list(VOLUME)))
HEAD = _object(
    "template",
    template=TEMPLATE,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
)
WORKERS = _object(
    "groupName template minReplicas maxReplicas",
    groupName=NAME,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
CLUSTER_SPEC = _object(
    "rayVersion authOptions headGroupSpec",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object("mode", mode={"enum": ["token", "disabled"]}, secretName=NAME),
    enableInTreeAutoscaling=YES_NO,
    autoscalerOptions=_object(idleTimeoutSeconds=WHOLE),
    headGroupSpec=HEAD,
    workerGroupSpecs=_list(WORKERS),
)
METADATA = {**_object(name=NAME, generateName=PREFIX, namespace=NAME, labels=TEXTS), "minProperties": 1}
RAY_CLUSTER = _object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=METADATA,
    spec=CLUSTER_SPEC,
)
RAY_JOB = _object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=METADATA,
    spec=_object(
        "entrypoint rayClusterSpec",
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes=YES_NO,
        ttlSecondsAfterFinished=WHOLE,
        backoffLimit=WHOLE,
        rayClusterSpec=CLUSTER_SPEC,
    ),
)
PERSISTENT_VOLUME_CLAIM = _object(
    "apiVersion kind metadata spec",
    apiVersion={"const": "v1"},
    kind={"const": "PersistentVolumeClaim"},
    metadata=METADATA,
    spec=_object(
        "accessModes resources",
        accessModes=_list({"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]}),
        resources=_object("requests", requests=QUANTITIES),
        storageClassName=NAME,
    ),
)
