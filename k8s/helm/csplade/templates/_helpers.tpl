{{/*
A name of at most so many characters: one that is longer ends in a hash of the whole, so that two
long names that begin alike stay two. Called with (list "name" 63).
*/}}
{{- define "csplade.cut" -}}
{{- $name := index . 0 -}}
{{- $most := index . 1 | int -}}
{{- if gt (len $name) $most -}}
{{- printf "%s-%s" (trunc (sub $most 9 | int) $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* Names start with the release's; a release called csplade gets no csplade-csplade. */}}
{{- define "csplade.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-csplade" .Release.Name) (contains "csplade" .Release.Name) -}}
{{- include "csplade.cut" (list $name 50) -}}
{{- end -}}

{{/* The name of an object, which is a label's value too: at most 63. Called with (list . "worker"). */}}
{{- define "csplade.named" -}}
{{- include "csplade.cut" (list (printf "%s-%s" (include "csplade.fullname" (index . 0)) (index . 1)) 63) -}}
{{- end -}}

{{/* Labels that select. Called with (dict "root" $ "component" "worker"). */}}
{{- define "csplade.selectorLabels" -}}
app.kubernetes.io/name: csplade
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "csplade.labels" -}}
{{ include "csplade.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* repository:tag or repository@digest. Called with (dict "root" $ "image" … "suffix" "-cuda"). */}}
{{- define "csplade.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default (printf "%s%s" .root.Chart.AppVersion (default "" .suffix)) .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Nothing a program here does needs more than this. */}}
{{- define "csplade.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
What every pod has. No service links: Kubernetes would set CSPLADE_GATEWAY_PORT=tcp://… for the
Service csplade-gateway, and that is the name of a setting.
*/}}
{{- define "csplade.podCommon" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{/* Settings that are no secrets, from the ConfigMap, and the secrets by name. */}}
{{- define "csplade.envFrom" -}}
- configMapRef:
    name: {{ include "csplade.named" (list . "settings") }}
{{- end -}}

{{- define "csplade.credentialsEnv" -}}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.credentialsSecret }}
      key: REDIS_URL
{{- range list "OPENSEARCH_USERNAME" "OPENSEARCH_PASSWORD" "OPENSEARCH_API_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.credentialsSecret }}
      key: {{ . }}
      optional: true
{{- end }}
{{- end -}}

{{/* Node cannot see a container's CPU share: without this it starts a thread per core of the node. */}}
{{- define "csplade.threadsEnv" -}}
- name: CSPLADE_THREADS
  valueFrom:
    resourceFieldRef:
      resource: requests.cpu
      divisor: "1"
{{- end -}}

{{/*
Called with the component: (dict "root" $ "component" "worker" "values" .Values.worker "model" "graph").
`model` is how much of a checkpoint it needs: graph, all of it; tables, what is beside the graph; or
nothing.
*/}}
{{- define "csplade.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.tls.caSecret }}
- name: ca
  mountPath: /etc/csplade/ca
  readOnly: true
{{- end }}
{{- if .model }}
- name: model
  mountPath: /models
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The component's model: what it says of its own, and the release's for the rest. YAML. */}}
{{- define "csplade.model" -}}
{{- mergeOverwrite (deepCopy .root.Values.model) (deepCopy (default dict .values.model)) | toYaml -}}
{{- end -}}

{{- define "csplade.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if .root.Values.tls.caSecret }}
- name: ca
  secret:
    secretName: {{ .root.Values.tls.caSecret }}
    items:
      - key: {{ .root.Values.tls.caKey }}
        path: ca.crt
{{- end }}
{{- if .model }}
- name: model
  {{- with include "csplade.model" . | fromYaml }}
  {{- if eq .source "claim" }}
  persistentVolumeClaim:
    claimName: {{ required "model.claim names the PersistentVolumeClaim of model.source=claim" .claim }}
    readOnly: true
  {{- else if eq .source "imageVolume" }}
  image:
    reference: {{ include "csplade.image" (dict "root" $.root "image" .image) }}
    pullPolicy: {{ .image.pullPolicy }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .sizeLimit }}
  {{- end }}
  {{- end }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* -L: what links lead to is copied; ONNX Runtime follows no link out of the graph's folder. */}}
{{- define "csplade.modelInitContainer" -}}
{{- with include "csplade.model" . | fromYaml }}
{{- if and $.model (eq .source "initContainer") }}
initContainers:
  - name: model
    image: {{ include "csplade.image" (dict "root" $.root "image" .image) }}
    imagePullPolicy: {{ .image.pullPolicy }}
    {{- if eq $.model "graph" }}
    command: [cp, -RLf, /model, /models/]
    {{- else }}
    # Everything but the graph and its weights: nothing is computed here.
    command:
      - sh
      - -euc
      - |
        mkdir -p /models/model
        for file in /model/*; do
          case "$file" in */model.onnx*) continue ;; esac
          cp -RLf "$file" /models/model/
        done
    {{- end }}
    securityContext:
      {{- include "csplade.containerSecurityContext" $.root | nindent 6 }}
    resources:
      requests:
        cpu: 100m
        memory: 64Mi
      limits:
        memory: 256Mi
    volumeMounts:
      - name: model
        mountPath: /models
{{- end }}
{{- end }}
{{- end -}}

{{/* Spread over zones and nodes where that is possible; never leave a pod pending for it. */}}
{{- define "csplade.topologySpread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "csplade.selectorLabels" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{/* Where a component's pods may run; those that need a GPU also where only GPUs are. */}}
{{- define "csplade.placement" -}}
{{- $cuda := eq (default "cpu" .values.provider) "cuda" }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .values.tolerations (ternary .root.Values.gpu.tolerations list $cuda) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if and $cuda .root.Values.gpu.runtimeClassName }}
runtimeClassName: {{ .root.Values.gpu.runtimeClassName }}
{{- end }}
{{- end -}}

{{/* The image of a component's provider. */}}
{{- define "csplade.programImage" -}}
{{- $cuda := eq (default "cpu" .values.provider) "cuda" -}}
{{- with ternary .root.Values.cudaImage .root.Values.image $cuda -}}
image: {{ include "csplade.image" (dict "root" $.root "image" . "suffix" (ternary "-cuda" "" $cuda)) }}
imagePullPolicy: {{ .pullPolicy }}
{{- end -}}
{{- end -}}

{{- define "csplade.providerEnv" -}}
- name: CSPLADE_PROVIDER
  value: {{ .values.provider }}
{{- end -}}

{{/* What it asks for, and a GPU where it needs one. */}}
{{- define "csplade.resources" -}}
{{- with .values.resources }}
requests:
  {{- toYaml .requests | nindent 2 }}
limits:
  {{- toYaml .limits | nindent 2 }}
{{- end }}
{{- if eq (default "cpu" .values.provider) "cuda" }}
  {{ .root.Values.gpu.resource }}: "1"
{{- end }}
{{- end -}}

{{/* Of a pod: what selects it, and what its owner adds. */}}
{{- define "csplade.podLabels" -}}
{{ include "csplade.labels" . }}
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
/healthz answers while the model is loaded, however long that takes, and fails when nothing can be
encoded any more; /readyz follows the last real inference.
*/}}
{{- define "csplade.metricsProbes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
{{- end -}}

{{/* Below the metadata of a service account. */}}
{{- define "csplade.serviceAccountAnnotations" -}}
{{- with .Values.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}
