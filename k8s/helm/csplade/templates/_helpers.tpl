{{/* Names start with the release's; a release called csplade gets no csplade-csplade. */}}
{{- define "csplade.fullname" -}}
{{- if contains "csplade" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-csplade" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
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
    name: {{ include "csplade.fullname" . }}-settings
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
  {{- with .root.Values.model }}
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
{{- end -}}

{{- define "csplade.modelInitContainer" -}}
{{- if eq .Values.model.source "initContainer" }}
initContainers:
  - name: model
    image: {{ include "csplade.image" (dict "root" . "image" .Values.model.image) }}
    imagePullPolicy: {{ .Values.model.image.pullPolicy }}
    command: [cp, -R, /model, /models/]
    securityContext:
      {{- include "csplade.containerSecurityContext" . | nindent 6 }}
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

{{/* Where pods may run: nodeSelector, tolerations, affinity. */}}
{{- define "csplade.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The process answers at all; the model is loaded and Redis answers. */}}
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
